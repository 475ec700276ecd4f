import type { RowOfEvent } from '../../schemas/event.ts'
import { sourceId } from '../../schemas/identity.ts'
import { completionsSampled, NO_MODEL } from '../../schemas/policy.ts'
import { rolloutRequested } from '../../schemas/rollout.ts'
import { type Answer, type Call, type CallContext, type Effect, isA } from '../processor.ts'
import { type ChatAnswer, type Choice, readAnswer } from './chat-answer.ts'
import { isRefused, lessonOf, refusalOf } from './chat-refusal.ts'
import { type ChatPlan, chatPlan, chatRequest, LEARNED, planOf, type SamplingOptions, seedOf } from './chat-request.ts'
import { type HttpPolicy, nameOf } from './policy-name.ts'

/**
 * Answers requests with a policy behind an OpenAI-compatible chat endpoint, which is shown the scene's picture. What it
 * says are facts: they are recorded, not computed again.
 *
 * It has the name of the scripted `sample-completions`, because it does that one's work: a request that the one has
 * taken, the other never answers a second time.
 *
 * @param options.sampling goes before what the request says
 */
export function askPolicy(options: HttpPolicy & { readonly sampling?: SamplingOptions }): Effect<ChatPlan> {
  const policy = nameOf(options)
  const { model, sampling = {} } = options
  // Not the URL: a server that comes up at another address goes on with the same groups.
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
    state: { version: 1, schema: chatPlan },
    plan(event) {
      if (!isA(event, rolloutRequested)) return undefined
      const { group_id, group_size, deadline } = event.data
      const attempt_id = sourceId(['attempt', ...variant, group_id, event.id])
      return { attempt_id, wanted: group_size, request: planOf(event.data, sampling), deadline }
    },
    per_call: (learned) => (learned.has(LEARNED.one_choice) ? 1 : Number.POSITIVE_INFINITY),
    async call(call, context) {
      const started_ms = context.now_ms()
      const answer = await completions(options, call, context)
      const latency_ms = context.now_ms() - started_ms
      if (answer.offered < call.indices.length) context.learned.add(LEARNED.one_choice)
      return answersOf(policy, call, answer, latency_ms)
    },
  }
}

/** One request; again at once without what the server turns out not to know. */
async function completions(options: HttpPolicy, call: Call<ChatPlan>, context: CallContext): Promise<ChatAnswer> {
  const { http, learned, signal } = context
  const image = await context.blob(call.request.image)
  let { indices } = call
  for (;;) {
    const body = chatRequest(options.model, call.request, indices, image, learned)
    const answer = await http.post(`${options.url}/chat/completions`, body, signal)
    if (answer.status === 200) return readAnswer(answer)
    const lesson = isRefused(answer) ? lessonOf(answer, learned) : undefined
    if (lesson !== undefined) learned.add(lesson)
    // Not every server that gives one choice a call says so.
    else if (isRefused(answer) && indices.length > 1) indices = indices.slice(0, 1)
    else throw refusalOf(answer, nameOf(options), context.now_ms())
  }
}

/** Choices take the asked-for places in order; more than were asked for are nobody's. */
export function answersOf(
  policy: string,
  { attempt_id, request, indices }: Call<ChatPlan>,
  { model, engine_version, choices }: ChatAnswer,
  latency_ms: number,
): Answer[] {
  return choices.slice(0, indices.length).map((choice, at) => {
    const index = indices[at] as number
    const row = {
      group_id: request.group_id,
      completion_index: index,
      attempt_id,
      policy,
      ...(choice satisfies Choice),
      token_policy_version: null,
      ...request.sampling,
      ...NO_MODEL,
      model_id: model,
      engine_version,
      seed: String(seedOf(request.seed, indices[0] ?? 0)),
      latency_ms,
    } satisfies RowOfEvent<typeof completionsSampled>
    return { index, row }
  })
}
