import type { Random } from '../../../environments/tower/random.ts'
import type { DamageKind } from './damage.ts'

/** A kind of file that is damaged and then used. */
export interface Target {
  readonly name: string
  /**
   * Damages a copy and uses it as the program does.
   *
   * @param trying called with the damage before the file is used
   * @returns the outcome in a word or two
   * @throws Error when there was neither the right answer nor an error message
   */
  attempt(random: Random, kind: DamageKind, trying: (what: string) => void): Promise<string>
  close(): Promise<void>
}
