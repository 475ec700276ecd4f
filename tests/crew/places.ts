/** The places that a process of the test has; whoever dies in one is followed by another. */
export const WORKERS = ['worker-1', 'worker-2', 'worker-3'] as const
export type WorkerName = (typeof WORKERS)[number]
/** `guest`: a worker that comes and goes. */
export type Place = WorkerName | 'guest' | 'sink' | 'reader' | 'generate' | 'pace'

/** `committing`: while the commit is under way, so long after `appended` as the fault says. */
export const STAGES = ['processed', 'appended', 'committing', 'committed'] as const
export type Stage = (typeof STAGES)[number]
