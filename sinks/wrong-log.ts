import type { Log } from '../infra/log/port/log.ts'
import { listed, type Misplaced } from '../infra/runtime/state/misplaced.ts'

/** A place was loaded from another log, or from a topic that was deleted and recreated. */
export class WrongLogError extends Error {
  override readonly name = 'WrongLogError'
  readonly retry = 'never'
}

/** @param place what was loaded; @param remedy what to do with it */
export function wrongLog(place: string, { address }: Log, misplaced: readonly Misplaced[], remedy: string) {
  return new WrongLogError(
    `${place} was loaded from another log than ${address} is now: ${listed(misplaced)}. ${remedy} ` +
      'Or name with --log the log that it was loaded from.',
  )
}
