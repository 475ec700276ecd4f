import { CallFailedError, type HttpAnswer } from '../processor.ts'

/** One choice, with the fields of a `policy.completions_sampled` row. */
export interface Choice {
  readonly text: string
  readonly finish_reason: string | null
  readonly prompt_token_ids: number[] | null
  readonly token_ids: number[] | null
  readonly completion_mask: number[] | null
  readonly logprobs: number[] | null
  readonly logprobs_kind: 'raw' | null
  /** From vLLM's `weight_versions`. */
  readonly token_policy_version: number[] | null
  readonly turn_index: number[] | null
  readonly trainable: boolean
}

export interface ChatAnswer {
  readonly model: string | null
  readonly engine_version: string | null
  /** How many choices the server returned, broken ones included. */
  readonly offered: number
  readonly choices: readonly Choice[]
}

type Json = Readonly<Record<string, unknown>>

/** Finish reasons that mean the server stopped, not the policy: such a choice is an incomplete completion. */
const BROKEN_OFF: ReadonlySet<string> = new Set(['abort', 'aborted', 'error', 'cancelled'])

/**
 * Reads an OpenAI-compatible answer. Only the text of a choice is required; every other part is optional, and treated
 * as missing if malformed. `prompt_token_ids` and `token_ids` are vLLM's `return_token_ids`.
 *
 * @throws CallFailedError when this is not a chat answer or contains no complete choice.
 */
export function readAnswer({ text }: HttpAnswer): ChatAnswer {
  const data = parsed(text)
  if (!isObject(data) || !Array.isArray(data.choices)) {
    throw new CallFailedError(`no chat answer: expected an object with choices, got ${excerpt(text)}`, {
      scope: 'call',
    })
  }
  const of_all = tokenIds(data.prompt_token_ids)
  const choices = (data.choices as readonly unknown[])
    .filter(isObject)
    .sort((a, b) => indexOf(a) - indexOf(b))
    .flatMap((choice) => choiceOf(choice, of_all) ?? [])
  if (choices.length === 0) {
    throw new CallFailedError(`the answer holds no whole choice: ${excerpt(text)}`, { scope: 'call' })
  }
  return {
    model: textOrNull(data.model),
    engine_version: textOrNull(data.system_fingerprint),
    offered: data.choices.length,
    choices,
  }
}

/** NaN and infinities outside strings: Python servers write them, but they are not JSON. */
const NOT_JSON = /"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {}
  try {
    return JSON.parse(text.replaceAll(NOT_JSON, (found) => (found.startsWith('"') ? found : 'null')))
  } catch {
    throw new CallFailedError(`expected JSON, got ${excerpt(text)}`, { scope: 'call' })
  }
}

/** @returns undefined for a choice that was aborted or has no text. */
function choiceOf(choice: Json, of_all: number[] | null): Choice | undefined {
  const finish_reason = textOrNull(choice.finish_reason)
  if (BROKEN_OFF.has(finish_reason ?? '') || isObject(choice.error)) return undefined
  const text = textOf(choice)
  if (text === undefined) return undefined
  const token_ids = tokenIds(choice.token_ids)
  const prompt_token_ids = tokenIds(choice.prompt_token_ids) ?? of_all
  const logprobs = logprobsOf(choice.logprobs)
  return {
    text: text.toWellFormed(),
    finish_reason,
    prompt_token_ids,
    token_ids,
    completion_mask: token_ids?.map(() => 1) ?? null,
    logprobs,
    // vLLM's are before temperature, unless started with another --logprobs-mode. For other servers it is unknown.
    logprobs_kind: logprobs !== null && token_ids !== null ? 'raw' : null,
    token_policy_version: versionsOf(choice.weight_versions, token_ids),
    turn_index: token_ids?.map(() => 0) ?? null,
    // Text is never tokenised again: without the server's token ids, a completion cannot be trained on.
    trainable:
      token_ids !== null && token_ids.length > 0 && prompt_token_ids !== null && logprobs?.length === token_ids.length,
  }
}

/** The text of a choice: a message's content, its refusal, or a plain completion's text. */
function textOf({ message, text }: Json): string | undefined {
  if (!isObject(message)) return typeof text === 'string' ? text : undefined
  return contentOf(message.content) ?? contentOf(message.refusal) ?? ''
}

/** A text, or the text parts of a list; other parts (reasoning, images) are not text of the completion. */
function contentOf(content: unknown): string | undefined {
  if (typeof content === 'string') return content
  const parts = Array.isArray(content) ? (content as readonly unknown[]) : isObject(content) ? [content] : undefined
  return parts
    ?.map((part) => {
      if (typeof part === 'string') return part
      if (!isObject(part)) return ''
      const { type = 'text', text, refusal } = part
      if (type === 'refusal') return typeof refusal === 'string' ? refusal : ''
      return (type === 'text' || type === 'output_text') && typeof text === 'string' ? text : ''
    })
    .join('')
}

/**
 * The log-probabilities of a choice: `content[].logprob` of chat answers, `token_logprobs` of plain completions.
 * @returns null unless every token has a finite one: a completion with gaps cannot be trained on.
 */
function logprobsOf(logprobs: unknown): number[] | null {
  if (!isObject(logprobs)) return null
  const { content, token_logprobs } = logprobs
  const values = Array.isArray(content)
    ? (content as readonly unknown[]).map((token) => (isObject(token) ? token.logprob : undefined))
    : Array.isArray(token_logprobs)
      ? (token_logprobs as readonly unknown[])
      : undefined
  if (values === undefined) return null
  const rounded: number[] = []
  for (const value of values) {
    const logprob = typeof value === 'number' ? Math.fround(value) : Number.NaN
    if (!Number.isFinite(logprob)) return null
    rounded.push(logprob)
  }
  return rounded
}

/**
 * The version of each token: spans `[start, end)` of one version, as vLLM writes them.
 * @returns null unless they cover all tokens in order and each version is a whole number
 */
function versionsOf(spans: unknown, token_ids: readonly number[] | null): number[] | null {
  if (!Array.isArray(spans) || token_ids === null) return null
  const versions: number[] = []
  for (const span of spans as readonly unknown[]) {
    if (!isObject(span) || span.start !== versions.length || !Number.isSafeInteger(span.end)) return null
    const text = typeof span.version === 'number' ? String(span.version) : span.version
    const version = typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : undefined
    if (version === undefined || (span.end as number) > token_ids.length) return null
    while (versions.length < (span.end as number)) versions.push(version)
  }
  return versions.length === token_ids.length && versions.length > 0 ? versions : null
}

const MAX_TOKEN_ID = 2 ** 31 - 1

function tokenIds(value: unknown): number[] | null {
  if (!Array.isArray(value)) return null
  const ids = value as readonly unknown[]
  const valid = ids.every((id) => Number.isInteger(id) && (id as number) >= 0 && (id as number) <= MAX_TOKEN_ID)
  return valid ? (ids as number[]) : null
}

/** 0 without an index, so that choices without one keep their order. */
const indexOf = ({ index }: Json) => (Number.isInteger(index) ? (index as number) : 0)

const textOrNull = (value: unknown) => (typeof value === 'string' ? value.toWellFormed() : null)

export const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The beginning of a text, on one line. */
export function excerpt(text: string): string {
  const line = text.slice(0, 1_000).replaceAll(/\s+/g, ' ').trim()
  return line === '' ? 'nothing' : line.length > 200 ? `${line.slice(0, 200)}…` : line
}
