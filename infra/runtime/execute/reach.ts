import type { Blobs } from '../../blobs/blobs.ts'
import type { ComputePool } from '../../compute/compute.ts'
import type { ModelSessions } from '../../models/model-sessions.ts'

/** What an execution may reach apart from its events. Only a transform does: folds are pure. */
export interface Reach {
  /** Read only. What a transform puts is among the results of `process`, for the caller to store or to drop. */
  readonly blobs: Pick<Blobs, 'get'>
  /** Where kernels run; each call gets the signal. */
  readonly compute: Pick<ComputePool, 'run'>
  /** Where models run; each call gets the signal. */
  readonly models: Pick<ModelSessions, 'run'>
  /** Aborts when the results are no longer wanted. `process` then rejects with its reason. */
  readonly signal: AbortSignal
}

/** A task's results are no longer wanted. Nothing of them was committed, so its next owner processes the same again. */
export class TaskAbortedError extends Error {
  override readonly name = 'TaskAbortedError'
  readonly retry = 'later'
}

/** For a caller that is not stopped early. */
export const NEVER_ABORTED = new AbortController().signal
