import { type AnyEffect, CallFailedError, type HttpClient, type PlacedModels } from '../../../processors/processor.ts'
import type { Blobs } from '../../blobs/blobs.ts'
import { asFold } from '../execute/effect-fold.ts'
import { type CallLimits, Calls } from './calls.ts'
import { Worker, type WorkerOptions } from './worker.ts'

/** The outside services of an effect, and the limits of its calls. */
export interface Outside {
  readonly http: HttpClient
  /** Where the files of models are placed for servers; without it, none can be. */
  readonly models?: (blobs: Pick<Blobs, 'get'>) => PlacedModels
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

/** Requests are small and calls are slow: a poll need not return thousands of them. */
const EFFECT_TUNING = { max_unsaved_bytes: 256 * 1024 }

const NOWHERE: PlacedModels = {
  place: () => {
    throw new CallFailedError('no folder is shared with the server', { scope: 'endpoint', permanent: true })
  },
}

/** The same failure is reported at most once in this time. */
const QUIET_MS = 10_000

/**
 * A worker that runs an effect. Its plans and results are a fold like any other; its calls run concurrently with the
 * poll loop. A plan is committed with the position of its event, before its first call. A result is committed with the
 * state that no longer lists it as missing. So a kill loses at most uncommitted results, whose calls are repeated.
 */
export function effectWorker(
  options: Omit<WorkerOptions, 'processor' | 'beside'> & { readonly processor: AnyEffect; readonly outside: Outside },
): Worker {
  const { processor: effect, outside, blobs, onEvent } = options
  const now_ms = outside.now_ms ?? Date.now
  let told = { message: '', at_ms: Number.NEGATIVE_INFINITY }
  const calls = new Calls({
    effect,
    limits: { ...DEFAULT_LIMITS, ...outside.limits },
    random: outside.random ?? Math.random,
    context: {
      ...{ http: outside.http, blob: (ref) => blobs.get(ref), now_ms },
      models: outside.models?.(blobs) ?? NOWHERE,
    },
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
    at_home: true,
    beside: calls,
    tuning: { ...EFFECT_TUNING, ...options.tuning },
  })
}
