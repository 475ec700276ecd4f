import type { Random } from '../environments/tower/random.ts'
import type { Fields } from '../schemas/declare/logical-types.ts'
import type { Origin } from '../schemas/events/origin.ts'
import type { Asked } from './asked.ts'

/** The scripted policies of one origin. They see the start state that a request names, not its prompt or pictures. */
export interface ScriptedPolicies<T extends string = string, R extends Fields = Fields> {
  readonly origin: Origin<T, R>
  /** The names of its policies, for a person who has typed another one. */
  readonly names: string
  /**
   * Names the answers of these policies in the variant of `sample-completions`. Change it with the answers: `verify` then
   * recomputes each answer, and each request that had none, as it was. Undefined: as in the first release.
   */
  readonly variant?: string
  /**
   * @param name as on the command line, such as `noisy-oracle(150)`
   * @returns undefined when the origin has no policy of this name
   * @throws RangeError for an argument that a policy of this name cannot have
   */
  policyOf(name: string): ScriptedPolicy<T, R> | undefined
}

export interface ScriptedPolicy<T extends string = string, R extends Fields = Fields> {
  /**
   * The text of one completion; equal arguments give equal text.
   *
   * @param stream the completion's own
   * @throws InvariantError when it cannot answer this start state: the request becomes a dead letter
   */
  answer(asked: Asked<T, R>, stream: Random): string
}
