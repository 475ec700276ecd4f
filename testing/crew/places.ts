/** Slots for the processes of the test; a process that dies in one is replaced. */
export const WORKERS = ['worker-1', 'worker-2', 'worker-3'] as const
export type WorkerName = (typeof WORKERS)[number]
/** `guest`: an extra worker that joins and leaves. */
export type Place = WorkerName | 'guest' | 'sink' | 'reader' | 'generate' | 'pace'

/** `committing`: during the commit, a delay after `appended` that the fault sets. */
export const STAGES = ['processed', 'appended', 'committing', 'committed'] as const
export type Stage = (typeof STAGES)[number]
