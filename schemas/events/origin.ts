import type { ValueType } from '../declare/declared-value.ts'
import type { Fields } from '../declare/logical-types.ts'

/**
 * Who asks a policy for completions: an environment, with its tasks and the state that each of its rollouts starts from.
 * A domain declares its origins; `rollout.*` and `policy.*` know none.
 */
export interface Origin<T extends string = string, R extends Fields = Fields> {
  /** `origin` of a `rollout.requested`. */
  readonly name: string
  readonly tasks: readonly T[]
  readonly start: ValueType<R>
}

export const defineOrigin = <const T extends string, R extends Fields>(origin: Origin<T, R>): Origin<T, R> => origin
