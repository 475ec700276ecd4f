import type { RowOfEvent } from '../../schemas/declare/event.ts'
import { completionsSampled, NO_MODEL } from '../../schemas/events/policy.ts'
import { rolloutRequested } from '../../schemas/events/rollout.ts'
import { sourceId } from '../../schemas/wire/identity.ts'
import {
  type Answer,
  AnswerTooLargeError,
  type Call,
  type CallContext,
  type Effect,
  type HttpAnswer,
  isA,
} from '../processor.ts'
import { type ChatAnswer, type Choice, readAnswer } from './chat-answer.ts'
import { isRefused, lessonOf, refusalOf, refusedOf, withOwnStatus } from './chat-refusal.ts'
import {
  type ChatPlan,
  chatPlan,
  chatRequest,
  fromVersion1,
  LEARNED,
  omissions,
  planOf,
  type SamplingOptions,
  sampledWith,
} from './chat-request.ts'
import { type HttpPolicy, nameOf } from './policy-name.ts'

/**
 * Answers requests with a policy behind an OpenAI-compatible chat endpoint, which sees the pictures of the request. Its outputs
 * are facts: they are recorded, not recomputed.
 *
 * It shares the name of the scripted `sample-completions`, so that a request answered by one is never answered again by
 * the other.
 *
 * @param options.sampling overrides the request's own sampling options
 */
export function askPolicy(options: HttpPolicy & { readonly sampling?: SamplingOptions }): Effect<ChatPlan> {
  const policy = nameOf(options)
  const { model, sampling = {} } = options
  // Without the URL: a server that moves to another address continues the same groups.
  const variant = ['openai', model]
  return {
    shape: 'effect',
    name: 'sample-completions',
    version: 1,
    about: `a policy over HTTP answers: ${policy}`,
    variant,
    produces: 'facts',
    inputs: [rolloutRequested],
    outputs: [completionsSampled],
    state: { version: 2, schema: chatPlan, upcast: { 1: fromVersion1 } },
    plan(event) {
      if (!isA(event, rolloutRequested)) return undefined
      const { group_id, group_size, deadline } = event.data
      const attempt_id = sourceId(['attempt', ...variant, group_id, event.id])
      return { attempt_id, wanted: group_size, request: planOf(event.data, sampling), deadline }
    },
    per_call: (learned) => (learned.has(LEARNED.one_choice) ? 1 : Number.POSITIVE_INFINITY),
    async call(call, context) {
      const started_ms = context.now_ms()
      const asked = await completions(options, call, context)
      const latency_ms = context.now_ms() - started_ms
      return answersOf(policy, call, asked, latency_ms)
    },
  }
}

interface Asked {
  readonly answer: ChatAnswer
  readonly sampled: ReturnType<typeof sampledWith>
}

/**
 * Sends one request. If the server rejects it, retries at once without a parameter that neither the request nor the
 * command line asks for: the one that the refusal names. If it names none, more and more parameters are omitted until
 * the server answers. The last omission is then learned as unsupported; the others are sent again with the next call.
 */
async function completions(options: HttpPolicy, call: Call<ChatPlan>, context: CallContext): Promise<Asked> {
  const { http, learned, signal } = context
  // As this process asks: a group that another process began is asked for without these tokens too.
  const plan = { ...call.request, unsupported_tokens: options.unsupported_tokens ?? [] }
  const images = await Promise.all(plan.images.map((image) => context.blob(image)))
  const left_out = new Set(learned)
  let last_left_out: readonly string[] = []
  let { indices } = call
  for (;;) {
    const body = chatRequest(options.model, plan, indices, images, left_out)
    const answer = await asked(body)
    if (answer === undefined) {
      learned.add(LEARNED.one_choice)
      indices = indices.slice(0, 1)
      continue
    }
    if (answer.status === 200) {
      const read = readAnswer(answer)
      for (const lesson of last_left_out) learned.add(lesson)
      const fewer_helped = indices.length < call.indices.length && last_left_out.length === 0
      if (fewer_helped || read.offered < indices.length) learned.add(LEARNED.one_choice)
      return { answer: read, sampled: sampledWith(plan, indices, left_out) }
    }
    const refused = refusedOf(answer, plan)
    const lesson = isRefused(answer) ? lessonOf(answer, plan, left_out) : undefined
    const next = omissions(plan).find((names) => names.some((name) => !left_out.has(LEARNED.without(name))))
    if (lesson !== undefined) {
      learned.add(lesson)
      left_out.add(lesson)
    } else if (!isRefused(answer) || refused.length > 0) {
      throw refusalOf(answer, nameOf(options), context.now_ms(), refused)
    } else if (indices.length > 1) {
      // Some servers reject several choices per call without saying so.
      indices = indices.slice(0, 1)
    } else if (next !== undefined && !learned.has(LEARNED.no_omission_helps)) {
      last_left_out = next.map(LEARNED.without)
      for (const omission of last_left_out) left_out.add(omission)
    } else {
      learned.add(LEARNED.no_omission_helps)
      throw refusalOf(answer, nameOf(options), context.now_ms())
    }
  }

  /** @returns undefined if an answer with several choices exceeds the client's size limit: fewer may fit. */
  async function asked(body: object): Promise<HttpAnswer | undefined> {
    try {
      return withOwnStatus(await http.post(`${options.url}/chat/completions`, body, signal))
    } catch (error) {
      if (error instanceof AnswerTooLargeError && indices.length > 1) return undefined
      throw error
    }
  }
}

/** Choices are assigned to the requested indices in order; surplus choices are dropped. */
export function answersOf(
  policy: string,
  { attempt_id, request, indices }: Call<ChatPlan>,
  { answer, sampled }: Asked,
  latency_ms: number,
): Answer[] {
  const { model, engine_version, choices } = answer
  return choices.slice(0, indices.length).map((choice, at) => {
    const index = indices[at] as number
    const row = {
      group_id: request.group_id,
      completion_index: index,
      attempt_id,
      policy,
      ...(choice satisfies Choice),
      token_policy_version: null,
      ...NO_MODEL,
      ...sampled,
      model_id: model,
      engine_version,
      latency_ms,
    } satisfies RowOfEvent<typeof completionsSampled>
    return { index, row }
  })
}
