import type { RowOfEvent } from '../../schemas/declare/event.ts'
import { completionsSampled, NO_MODEL } from '../../schemas/events/policy.ts'
import { rolloutRequested } from '../../schemas/events/rollout.ts'
import { sourceId } from '../../schemas/wire/identity.ts'
import { AdapterRefusedError, loadAdapter } from '../activate-models/adapter-server.ts'
import { type Activated, lastActivated } from '../activate-models/last-activated.ts'
import {
  type Answer,
  AnswerTooLargeError,
  type Broadcast,
  type Call,
  type CallContext,
  CallFailedError,
  type Effect,
  type HttpAnswer,
  isA,
  ModelUnsoundError,
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
export function askPolicy(
  options: HttpPolicy & { readonly sampling?: SamplingOptions },
): Effect<ChatPlan, readonly Activated[] | undefined> {
  const policy = nameOf(options)
  const { lineage, sampling = {} } = options
  // Without the URL: a server that moves to another address continues the same groups.
  const variant = options.lineage === undefined ? ['openai', options.model] : ['openai-lineage', options.lineage]
  return {
    shape: 'effect',
    name: 'sample-completions',
    version: 1,
    about: `a policy over HTTP answers: ${policy}`,
    variant,
    produces: 'facts',
    inputs: [rolloutRequested],
    outputs: [completionsSampled],
    ...(lineage === undefined ? {} : { broadcast: activatedOf(lineage) }),
    state: { version: 2, schema: chatPlan, upcast: { 1: fromVersion1 } },
    plan(event) {
      if (!isA(event, rolloutRequested)) return undefined
      const { group_id, group_size, deadline } = event.data
      const attempt_id = sourceId(['attempt', ...variant, group_id, event.id])
      return { attempt_id, wanted: group_size, request: planOf(event.data, sampling), deadline }
    },
    per_call: (learned) => (learned.has(LEARNED.one_choice) ? 1 : Number.POSITIVE_INFINITY),
    async call(call, context) {
      const model = context.broadcast?.[0]
      const asked = await completions(options, model, call, context)
      const latency_ms = context.now_ms() - asked.started_ms
      return answersOf(policy, call, asked, latency_ms, model)
    },
  }
}

type Context = CallContext<readonly Activated[] | undefined>

function activatedOf(lineage: string): Broadcast<readonly Activated[]> {
  const about = `the first model of ${lineage}; publish one, or look at model.refused`
  return { ...lastActivated(lineage), needed: { about, isThere: (recent) => recent.length > 0 } }
}

interface Asked {
  readonly answer: ChatAnswer
  readonly sampled: ReturnType<typeof sampledWith>
}

/**
 * Sends one request. If the server rejects it, retries at once without a parameter that neither the request nor the
 * command line asks for: the one that the refusal names. If it names none, more and more parameters are omitted until
 * the server answers. The last omission is then learned as unsupported; the others are sent again with the next call.
 *
 * @param activated of a lineage: the whole call is of this model, whichever is activated meanwhile
 */
async function completions(
  options: HttpPolicy,
  activated: Activated | undefined,
  call: Call<ChatPlan>,
  context: Context,
): Promise<Asked & { readonly started_ms: number }> {
  const { http, learned, signal } = context
  const model = activated?.name ?? (options.lineage === undefined ? options.model : '')
  let started_ms = context.now_ms()
  let loaded_again = false
  // As this process asks: a group that another process began is asked for without these tokens too.
  const plan = { ...call.request, unsupported_tokens: options.unsupported_tokens ?? [] }
  const images = await Promise.all(plan.images.map((image) => context.blob(image)))
  const left_out = new Set(learned)
  let last_left_out: readonly string[] = []
  let { indices } = call
  for (;;) {
    const body = chatRequest(model, plan, indices, images, left_out)
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
      return { answer: read, sampled: sampledWith(plan, indices, left_out), started_ms }
    }
    if (answer.status === 404 && activated !== undefined && !loaded_again) {
      await loadAgain(options.url, activated, context)
      loaded_again = true
      started_ms = context.now_ms()
      continue
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

/** A server that was started again has none of the models that it had loaded. */
async function loadAgain(url: string, model: Activated, context: Context): Promise<void> {
  try {
    await loadAdapter(url, model, context)
  } catch (error) {
    if (!(error instanceof ModelUnsoundError || error instanceof AdapterRefusedError)) throw error
    throw new CallFailedError(error.message, { scope: 'endpoint', permanent: true })
  }
}

/** Choices are assigned to the requested indices in order; surplus choices are dropped. */
export function answersOf(
  policy: string,
  { attempt_id, request, indices }: Call<ChatPlan>,
  { answer, sampled }: Asked,
  latency_ms: number,
  activated?: Activated,
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
      ...NO_MODEL,
      ...sampled,
      model_id: model,
      engine_version,
      latency_ms,
      ...(activated === undefined ? {} : ofAdapter(activated, choice)),
    } satisfies RowOfEvent<typeof completionsSampled>
    return { index, row }
  })
}

/** All tokens are of the version that was asked for: the server has other contents under other names. */
function ofAdapter({ model_id, lineage, version, adapter_sha256 }: Activated, { token_ids }: Choice) {
  return { model_id, lineage, adapter_sha256, token_policy_version: token_ids?.map(() => version) ?? null }
}
