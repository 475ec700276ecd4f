import type { Effect, HttpClient } from '../../processors/processor.ts'
import { type CallLimits, Calls } from './calls.ts'
import { asFold } from './effect-fold.ts'
import { Worker, type WorkerOptions } from './worker.ts'

/** What an effect may reach, and how hard. */
export interface Outside {
  readonly http: HttpClient
  readonly limits?: Partial<CallLimits>
  readonly now_ms?: () => number
  /** Uniform on [0, 1): the jitter of retries. */
  readonly random?: () => number
}

export const DEFAULT_LIMITS: CallLimits = {
  concurrency: 8,
  timeout_ms: 120_000,
  max_waiting: 256,
  waits: { first_ms: 500, longest_ms: 30_000, permanent_ms: 30_000 },
}

/** Requests are small and their calls slow: a poll need not bring thousands at once. */
const EFFECT_TUNING = { max_unsaved_bytes: 256 * 1024 }

/** The same trouble is told once in this time. */
const QUIET_MS = 10_000

/**
 * A worker that runs an effect: its plans and results are a fold like any other, and its calls go on beside the poll
 * loop. A plan is committed before its first call, together with having read its event; a result is committed together
 * with the state that no longer lacks it. So a kill at any time loses at most calls under way, and they are made again.
 */
export function effectWorker(
  options: Omit<WorkerOptions, 'processor' | 'beside'> & { readonly processor: Effect; readonly outside: Outside },
): Worker {
  const { processor: effect, outside, blobs, onEvent } = options
  const now_ms = outside.now_ms ?? Date.now
  let told = { message: '', at_ms: Number.NEGATIVE_INFINITY }
  const calls = new Calls({
    effect,
    limits: { ...DEFAULT_LIMITS, ...outside.limits },
    random: outside.random ?? Math.random,
    context: { http: outside.http, blob: (ref) => blobs.get(ref), now_ms },
    onFailure(error, wait_ms) {
      const at_ms = now_ms()
      if (error.message === told.message && at_ms - told.at_ms < QUIET_MS) return
      told = { message: error.message, at_ms }
      onEvent?.({ kind: 'retrying', error, wait_ms })
    },
    onNotice: (message) => onEvent?.({ kind: 'notice', message }),
  })
  return new Worker({
    ...options,
    processor: asFold(effect),
    beside: calls,
    tuning: { ...EFFECT_TUNING, ...options.tuning },
  })
}
