import type { ValueType } from '../declare/declared-value.ts'
import type { EventType } from '../declare/event.ts'
import { ID, INDEX, TEXT } from '../declare/limits.ts'
import { type Field, type Fields, float64, int32, nullable, type RowOf, utf8 } from '../declare/logical-types.ts'

/** The fields of a scored completion that a group needs: the event of an origin has them, and what else it measures. */
export const scoredFields = {
  group_id: utf8(ID),
  completion_index: int32(INDEX, '0 … group_size − 1'),
  attempt_id: utf8(ID, 'the sampling attempt that the completion belongs to'),
  sampled_id: utf8(ID, 'ce_id of the policy.completions_sampled that held the completion'),
  outcome: nullable(utf8(ID, 'null when the scorer itself failed')),
  reward: nullable(float64('null when the scorer itself failed, never a number for that')),
  reward_name: utf8(ID, 'which reward function'),
  reward_version: int32(),
  scorer_error: nullable(utf8(TEXT, 'why the scorer failed')),
}
export type ScoredRow = RowOf<typeof scoredFields>
/** An event with these fields, or narrower ones, among others. */
export type ScoredType = EventType<'arrow', Fields & { readonly [K in keyof ScoredRow]: Field<ScoredRow[K]> }>

/** What a completion is worth under another reward: the columns that views read. */
interface RescoredRow {
  readonly group_id: string
  readonly completion_index: number
  readonly sampled_id: string
  /** `ce_id` of the scored event that has its outcome. */
  readonly scored_id: string
  readonly reward: number | null
  readonly reward_name: string
  readonly dialect: string
}
/** An event with these fields, or narrower ones, among others. */
export type RescoredType = EventType<'arrow', Fields & { readonly [K in keyof RescoredRow]: Field<RescoredRow[K]> }>

/**
 * Who asks a policy for completions: an environment, with its tasks, the state that each of its rollouts starts from,
 * and the event that scores its completions. A domain declares its origins; `rollout.*` and `policy.*` know none.
 */
export interface Origin<T extends string = string, R extends Fields = Fields, S extends ScoredType = ScoredType> {
  /** `origin` of a `rollout.requested`. */
  readonly name: string
  readonly tasks: readonly T[]
  readonly start: ValueType<R>
  /** Has `scoredFields` among its own: groups are formed of them, and the view `rewards` shows them. */
  readonly scored: S
  /** The processor that derives it. `scoring` makes a fold of this name. */
  readonly scored_by: string
  /** The event of other rewards for recorded completions, and the processor that derives it; undefined: there is none. */
  readonly rescored?: { readonly event: RescoredType; readonly by: string }
}

/** An origin whose completions can have other rewards. */
export type RescoredOrigin = Origin & Required<Pick<Origin, 'rescored'>>

export const defineOrigin = <
  const T extends string,
  R extends Fields,
  S extends ScoredType,
  O extends Pick<Origin, 'rescored'>,
>(
  origin: Origin<T, R, S> & O,
): Origin<T, R, S> & O => origin
