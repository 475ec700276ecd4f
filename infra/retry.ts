/**
 * Can a retry succeed? Each of our error classes answers with its property `retry`:
 * `later`: the environment failed (disk, network, another process). The same call may succeed; nothing is dropped.
 * `never`: the same call fails again. Only an error about the record itself (`PoisonError`) lets a reader skip it.
 */
export type Retry = 'later' | 'never'

/** Errors of JavaScript itself are bugs in our code. */
const BUGS = [TypeError, ReferenceError, RangeError]

/** Error codes of Node and undici for a refusal by the operating system or the network. */
const SYSTEM_CODE = /^(E(?!RR_)[A-Z0-9_]+|UND_ERR_[A-Z_]+)$/

/**
 * Whether any error can be retried, by its own property or by a system error among its causes.
 *
 * @returns undefined when neither tells. The work is then reported and retried; no record is skipped for it.
 */
export function retryOf(error: unknown): Retry | undefined {
  if (!(error instanceof Error)) return undefined
  const { retry, code, cause } = error as Error & { readonly retry?: unknown; readonly code?: unknown }
  if (retry === 'later' || retry === 'never') return retry
  if (typeof code === 'string' && SYSTEM_CODE.test(code)) return 'later'
  // `fetch` reports a failed connection as a TypeError whose cause is the system error.
  if (retryOf(cause) === 'later') return 'later'
  return BUGS.some((kind) => error instanceof kind) ? 'never' : undefined
}

/** Pauses after failures in a row, ms. */
export interface Pauses {
  readonly first_ms: number
  readonly longest_ms: number
}

const USUAL: Pauses = { first_ms: 100, longest_ms: 10_000 }

/** How long to wait after one more failure in a row: twice as long as before. @param before_ms 0 after the first one */
export const longerPause = (before_ms: number, { first_ms, longest_ms } = USUAL): number =>
  Math.min(longest_ms, Math.max(first_ms, before_ms * 2))
