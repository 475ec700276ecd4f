import { createHash } from 'node:crypto'
import { z } from 'zod'
import type { RowOfEvent } from '../../schemas/event.ts'
import type { rolloutRequested } from '../../schemas/rollout.ts'

type Requested = RowOfEvent<typeof rolloutRequested>

/** How to sample where the request leaves it open. Always sent, so that what was sampled is known. */
export interface SamplingOptions {
  readonly temperature?: number | undefined
  readonly max_tokens?: number | undefined
}

const DEFAULT_SAMPLING = { temperature: 1, top_p: 1, max_tokens: 1_024 }

/** What a call must know of a request; lies in the effect's state until the group is complete. */
export const chatPlan = z.object({
  group_id: z.string(),
  prompt: z.string(),
  image: z.object({ sha256: z.string(), bytes: z.int(), media_type: z.string() }),
  sampling: z.object({
    temperature: z.number(),
    top_p: z.number(),
    top_k: z.int().nullable(),
    max_tokens: z.int(),
    stop: z.array(z.string()),
  }),
  seed: z.string(),
})

export type ChatPlan = z.infer<typeof chatPlan>

export function planOf({ group_id, prompt, scene, sampling, seed }: Requested, options: SamplingOptions): ChatPlan {
  const { sha256, bytes, media_type } = scene.image
  return {
    group_id,
    prompt: prompt.text,
    image: { sha256, bytes, media_type },
    sampling: {
      temperature: options.temperature ?? sampling.temperature ?? DEFAULT_SAMPLING.temperature,
      top_p: sampling.top_p ?? DEFAULT_SAMPLING.top_p,
      top_k: sampling.top_k,
      max_tokens: options.max_tokens ?? sampling.max_tokens ?? DEFAULT_SAMPLING.max_tokens,
      stop: [...sampling.stop],
    },
    seed,
  }
}

/**
 * Turns off what shapes the sampling unasked: vLLM and SGLang take these from the model's generation_config.json where a
 * request is silent (Qwen2-VL's says top_k 1, with which a group's completions are all the same), llama.cpp from itself.
 */
const NEUTRAL = { top_k: -1, min_p: 0, repetition_penalty: 1, presence_penalty: 0, frequency_penalty: 0 } as const

/** Extras that a server may refuse. What the request says of the sampling is never left out. */
export const DISPENSABLE = [
  'return_token_ids',
  'logprobs',
  ...(Object.keys(NEUTRAL) as (keyof typeof NEUTRAL)[]),
] as const

/** What this server has shown that it does not do; kept in `CallContext.learned`. */
export const LEARNED = {
  one_choice: 'one choice a call',
  completion_tokens: 'max_completion_tokens instead of max_tokens',
  without: (parameter: string) => `no ${parameter}`,
} as const

/** The body of `POST /chat/completions`. */
export function chatRequest(
  model: string,
  plan: ChatPlan,
  indices: readonly number[],
  image: Uint8Array,
  learned: ReadonlySet<string>,
): Record<string, unknown> {
  const { temperature, top_p, top_k, max_tokens, stop } = plan.sampling
  const url = `data:${plan.image.media_type};base64,${Buffer.from(image).toString('base64')}`
  const asks = (parameter: (typeof DISPENSABLE)[number]) => !learned.has(LEARNED.without(parameter))
  return {
    model,
    messages: [
      {
        role: 'user',
        content: [
          { type: 'image_url', image_url: { url } },
          { type: 'text', text: plan.prompt },
        ],
      },
    ],
    ...(learned.has(LEARNED.one_choice) ? {} : { n: indices.length }),
    temperature,
    top_p,
    ...Object.fromEntries(Object.entries(NEUTRAL).filter(([name]) => asks(name as keyof typeof NEUTRAL))),
    ...(top_k === null ? {} : { top_k }),
    ...(learned.has(LEARNED.completion_tokens) ? { max_completion_tokens: max_tokens } : { max_tokens }),
    ...(stop.length === 0 ? {} : { stop }),
    seed: seedOf(plan.seed, indices[0] ?? 0),
    ...(asks('logprobs') ? { logprobs: true } : {}),
    ...(asks('return_token_ids') ? { return_token_ids: true } : {}),
  }
}

/** 31 bits of SHA-256 over the request's seed and the first completion asked for: the same call, the same seed. */
export function seedOf(seed: string, first_index: number): number {
  return (
    createHash('sha256')
      .update(JSON.stringify([seed, first_index]))
      .digest()
      .readUInt32BE(0) >>> 1
  )
}
