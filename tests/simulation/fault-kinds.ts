/** What may go wrong at the next step of a process. */
export const FAULTS = {
  crash: 'is killed instead',
  restart: 'is told to stop, and another takes its place',
  stall: 'stands still for a while, with its heartbeat',
  'stall and substitute': 'stands still for a while, and another is started meanwhile',
  newcomer: 'is joined by another worker of its stage',
  'wall clock': 'finds the wall clock set to another time',
  'call failed': 'gets an error instead of an answer',
  'blobs away': 'finds the blob store gone, as everyone does for a while',
  'commit refused': 'commits and is told that the disk is full; nothing was written',
  'commit unanswered': 'commits, it is written, and the answer is lost',
  'commit late': 'gets an error, and the commit arrives later',
  fenced: 'is told that someone else has its producer id, though nobody has',
} as const

export type FaultKind = keyof typeof FAULTS
