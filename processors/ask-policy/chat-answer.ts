import { z } from 'zod'
import { CallFailedError, type HttpAnswer } from '../processor.ts'

const tokenIds = z.array(z.int().min(0)).nullish()

/** What is read of an OpenAI-compatible answer; `prompt_token_ids` and `token_ids` are vLLM's `return_token_ids`. */
const chatAnswer = z.object({
  model: z.string().nullish(),
  system_fingerprint: z.string().nullish(),
  prompt_token_ids: tokenIds,
  choices: z.array(
    z.object({
      index: z.int().nullish(),
      finish_reason: z.string().nullish(),
      message: z.object({ content: z.string().nullish(), refusal: z.string().nullish() }),
      logprobs: z.object({ content: z.array(z.object({ logprob: z.number() })).nullish() }).nullish(),
      token_ids: tokenIds,
      prompt_token_ids: tokenIds,
    }),
  ),
})

/** One choice, as a row of `policy.completions_sampled` holds it. */
export interface Choice {
  readonly text: string
  readonly finish_reason: string | null
  readonly prompt_token_ids: number[] | null
  readonly token_ids: number[] | null
  readonly completion_mask: number[] | null
  readonly logprobs: number[] | null
  readonly logprobs_kind: 'raw' | null
  readonly turn_index: number[] | null
  readonly trainable: boolean
}

export interface ChatAnswer {
  readonly model: string | null
  readonly engine_version: string | null
  /** How many choices there were, broken ones too. */
  readonly offered: number
  readonly choices: readonly Choice[]
}

/** Reasons to stop that say that the server gave up, not the policy: such a choice is half a completion. */
const BROKEN_OFF: ReadonlySet<string> = new Set(['abort', 'aborted', 'error', 'cancelled'])

/** @throws CallFailedError when this is no chat answer or holds no whole choice. */
export function readAnswer({ text }: HttpAnswer): ChatAnswer {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw new CallFailedError(`expected JSON, got ${excerpt(text)}`, { scope: 'call' })
  }
  const parsed = chatAnswer.safeParse(json)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    const where = issue?.path.join('.') || 'the answer'
    throw new CallFailedError(`no chat answer: ${where}: ${issue?.message}, in ${excerpt(text)}`, { scope: 'call' })
  }
  const { data } = parsed
  const choices = data.choices
    .filter(({ finish_reason }) => !BROKEN_OFF.has(finish_reason ?? ''))
    .sort((a, b) => (a.index ?? 0) - (b.index ?? 0))
  if (choices.length === 0) throw new CallFailedError('the answer holds no whole choice', { scope: 'call' })
  return {
    model: data.model ?? null,
    engine_version: data.system_fingerprint ?? null,
    offered: data.choices.length,
    choices: choices.map((choice) => choiceOf(choice, data.prompt_token_ids ?? null)),
  }
}

type RawChoice = z.infer<typeof chatAnswer>['choices'][number]

function choiceOf(choice: RawChoice, of_all: number[] | null): Choice {
  const { message, finish_reason } = choice
  const token_ids = choice.token_ids ?? null
  const prompt_token_ids = choice.prompt_token_ids ?? of_all
  const logprobs = choice.logprobs?.content?.map(({ logprob }) => Math.fround(logprob)) ?? null
  const whole = logprobs?.every(Number.isFinite) ? logprobs : null
  return {
    text: (message.content ?? message.refusal ?? '').toWellFormed(),
    finish_reason: finish_reason ?? null,
    prompt_token_ids,
    token_ids,
    completion_mask: token_ids?.map(() => 1) ?? null,
    logprobs: whole,
    // vLLM's are of before temperature, unless it was started with another --logprobs-mode. Of others nothing is known.
    logprobs_kind: whole !== null && token_ids !== null ? 'raw' : null,
    turn_index: token_ids?.map(() => 0) ?? null,
    // Token ids are never made from the text again: what the server did not say, nobody can train on.
    trainable:
      token_ids !== null && token_ids.length > 0 && prompt_token_ids !== null && whole?.length === token_ids.length,
  }
}

/** The beginning of what came, on one line. */
export function excerpt(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ').trim()
  return line === '' ? 'nothing' : line.length > 200 ? `${line.slice(0, 200)}…` : line
}
