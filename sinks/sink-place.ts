import { LockFile } from '../infra/lock-file.ts'

const LOCK_WAIT_MS = 500

/** What to do with a place that a sink cannot continue. @param name of the sink, and so of its option */
export const startAgain = (name: string, place: string) =>
  `remove ${place} and start the run again, or name another one with --${name}: everything is written again from the log`

/** Another process writes to the place. */
export class PlaceBusyError extends Error {
  override readonly name = 'PlaceBusyError'
  readonly retry = 'later'
  readonly remedy: string

  constructor(sink: string, place: string) {
    super(`${place}: another process writes there`)
    this.remedy = `end the run that writes there, or name another place with --${sink}`
  }
}

/**
 * Makes this process the one writer of a place, until the lock is closed or the process ends.
 *
 * @param file of the lock
 * @throws PlaceBusyError
 */
export function lockPlace(sink: string, place: string, file: string): LockFile {
  const lock = new LockFile(file, LOCK_WAIT_MS)
  try {
    if (lock.takeAlone()) return lock
    throw new PlaceBusyError(sink, place)
  } catch (cause) {
    lock.close()
    throw cause
  }
}
