import { createHash } from 'node:crypto'
import { z } from 'zod'
import type { RowOfEvent } from '../../schemas/declare/event.ts'
import type { completionsSampled } from '../../schemas/events/policy.ts'
import type { rolloutRequested } from '../../schemas/events/rollout.ts'

type Requested = RowOfEvent<typeof rolloutRequested>

/** Override the request's. Parameters are sent unless the server rejects them, so that the recorded values are true. */
export interface SamplingOptions {
  readonly temperature?: number | undefined
  readonly max_tokens?: number | undefined
}

const DEFAULT_SAMPLING = { temperature: 1, top_p: 1, max_tokens: 1_024 }

/** The part of a request that a call needs; stored in the effect's state until the group is complete. */
export const chatPlan = z.object({
  group_id: z.string(),
  prompt: z.string(),
  images: z.array(z.object({ sha256: z.string(), bytes: z.int(), media_type: z.string() })),
  sampling: z.object({
    temperature: z.number(),
    top_p: z.number(),
    top_k: z.int().nullable(),
    max_tokens: z.int(),
    stop: z.array(z.string()),
  }),
  /** Sampling parameters that are this program's defaults and may be omitted. Absent in older states: none. */
  unasked: z.array(z.string()).optional(),
  seed: z.string(),
})

/** Version 1 of the state had one image. */
export function fromVersion1(state: unknown): unknown {
  const { image, ...plan } = state as { image: unknown }
  return { ...plan, images: [image] }
}

export type ChatPlan = z.infer<typeof chatPlan>

/** With what the policy itself wants, which is no part of the state. */
export interface CallPlan extends ChatPlan {
  readonly unsupported_tokens?: readonly number[]
}

export function planOf({ group_id, prompt, images, sampling, seed }: Requested, options: SamplingOptions): ChatPlan {
  const asked = {
    temperature: options.temperature ?? sampling.temperature,
    top_p: sampling.top_p,
    max_tokens: options.max_tokens ?? sampling.max_tokens,
  }
  return {
    group_id,
    prompt: prompt.text,
    images: images.map(({ sha256, bytes, media_type }) => ({ sha256, bytes, media_type })),
    sampling: {
      temperature: asked.temperature ?? DEFAULT_SAMPLING.temperature,
      top_p: asked.top_p ?? DEFAULT_SAMPLING.top_p,
      top_k: sampling.top_k,
      max_tokens: asked.max_tokens ?? DEFAULT_SAMPLING.max_tokens,
      stop: [...sampling.stop],
    },
    unasked: Object.entries(asked).flatMap(([name, value]) => (value === null || value === undefined ? [name] : [])),
    seed,
  }
}

/**
 * Neutralises server defaults. If a request omits these, vLLM and SGLang take them from the model's
 * generation_config.json (Qwen2-VL's has top_k 1, which makes all completions of a group equal), and llama.cpp uses its
 * own.
 */
const NEUTRAL = { top_k: -1, min_p: 0, repetition_penalty: 1, presence_penalty: 0, frequency_penalty: 0 } as const

/** Limitations that a server has shown; stored in `CallContext.learned`. */
export const LEARNED = {
  one_choice: 'one choice a call',
  completion_tokens: 'max_completion_tokens instead of max_tokens',
  without: (parameter: string) => `no ${parameter}`,
  /** A refusal named no parameter, and omitting everything that may be omitted did not help. */
  no_omission_helps: 'no omission helps',
} as const

/**
 * Parameters that may be omitted from this plan's calls because neither the request nor the command line asks for them,
 * least important first; each entry is omitted as a whole. Parameters that the request asks for are in none.
 */
export function omissions({
  sampling,
  unasked = [],
  unsupported_tokens = [],
}: CallPlan): readonly (readonly string[])[] {
  const neutral = Object.keys(NEUTRAL).filter((name) => name !== 'top_k' || sampling.top_k === null)
  const defaults = ['top_p', 'temperature'].filter((name) => unasked.includes(name))
  // What is sampled all the same is rejected by form-groups.
  const bias = unsupported_tokens.length === 0 ? [] : [['logit_bias']]
  return [neutral, ['seed'], ...bias, ...defaults.map((name) => [name]), ['return_token_ids'], ['logprobs']]
}

/** Parameters that may be omitted if the server names them: also `max_tokens`, which is never omitted on a guess. */
export function dispensable(plan: CallPlan): readonly string[] {
  return [...omissions(plan).flat(), ...(plan.unasked ?? []).filter((name) => name === 'max_tokens')]
}

/** Sampling parameters that the request or the command line asks for, as text: `top_k 20`. */
export function askedFor({ sampling, unasked }: ChatPlan): string[] {
  const { temperature, top_p, top_k, max_tokens, stop } = sampling
  const always = { ...(top_k === null ? {} : { top_k }), ...(stop.length === 0 ? {} : { stop: stop.join(' ') }) }
  // An older state does not distinguish defaults from requested values.
  const known = unasked === undefined ? {} : { temperature, top_p, max_tokens }
  return Object.entries({ ...known, ...always })
    .filter(([name]) => !unasked?.includes(name))
    .map(([name, value]) => `${name} ${value}`)
}

/** The body of `POST /chat/completions`. @param images bytes of the plan's images, in the same order */
export function chatRequest(
  model: string,
  plan: CallPlan,
  indices: readonly number[],
  images: readonly Uint8Array[],
  learned: ReadonlySet<string>,
): Record<string, unknown> {
  const { temperature, top_p, top_k, max_tokens, stop } = plan.sampling
  const pictures = images.map((bytes, at) => {
    const url = `data:${plan.images[at]?.media_type};base64,${Buffer.from(bytes).toString('base64')}`
    return { type: 'image_url', image_url: { url } }
  })
  const optional = {
    temperature,
    top_p,
    ...NEUTRAL,
    ...(learned.has(LEARNED.completion_tokens) ? {} : { max_tokens }),
    seed: seedOf(plan.seed, indices[0] ?? 0),
    ...biasAgainst(plan.unsupported_tokens ?? []),
    logprobs: true,
    return_token_ids: true,
  }
  const kept = Object.entries(optional).filter(([name]) => !learned.has(LEARNED.without(name)))
  const renamed = learned.has(LEARNED.completion_tokens) && !learned.has(LEARNED.without('max_tokens'))
  return {
    model,
    messages: [
      {
        role: 'user',
        content: [...pictures, { type: 'text', text: plan.prompt }],
      },
    ],
    ...(learned.has(LEARNED.one_choice) ? {} : { n: indices.length }),
    ...Object.fromEntries(kept),
    ...(top_k === null ? {} : { top_k }),
    ...(renamed ? { max_completion_tokens: max_tokens } : {}),
    ...(stop.length === 0 ? {} : { stop }),
  }
}

/** OpenAI: −100 bans a token. */
function biasAgainst(tokens: readonly number[]): { logit_bias?: Record<string, number> } {
  return tokens.length === 0 ? {} : { logit_bias: Object.fromEntries(tokens.map((id) => [id, -100])) }
}

type Sampled = RowOfEvent<typeof completionsSampled>

/** The sampling fields to record for a call: null for omitted parameters, which the server decided. */
export function sampledWith(
  { sampling, seed }: ChatPlan,
  indices: readonly number[],
  learned: ReadonlySet<string>,
): Pick<Sampled, 'temperature' | 'top_p' | 'top_k' | 'max_tokens' | 'stop' | 'seed'> {
  const sent = <T>(name: string, value: T) => (learned.has(LEARNED.without(name)) ? null : value)
  return {
    temperature: sent('temperature', sampling.temperature),
    top_p: sent('top_p', sampling.top_p),
    top_k: sampling.top_k,
    max_tokens: sent('max_tokens', sampling.max_tokens),
    stop: sampling.stop,
    seed: sent('seed', String(seedOf(seed, indices[0] ?? 0))),
  }
}

/** 31 bits of SHA-256 over the request's seed and the call's first index: the same call has the same seed. */
export function seedOf(seed: string, first_index: number): number {
  return (
    createHash('sha256')
      .update(JSON.stringify([seed, first_index]))
      .digest()
      .readUInt32BE(0) >>> 1
  )
}
