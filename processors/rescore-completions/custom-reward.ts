import type { RowOfEvent } from '../../schemas/event.ts'
import type { DIALECTS } from '../../schemas/rollout.ts'
import type { completionsScored } from '../../schemas/tower.ts'

type ScoredRow = RowOfEvent<typeof completionsScored>

/** What a reward of one's own may look at: a completion and what the world did with it, as recorded. */
export interface RecordedCompletion {
  readonly group_id: string
  readonly completion_index: number
  readonly scene_id: string
  readonly task: ScoredRow['task']
  /** What stood in the last <answer> pair, and why it could not be read where it could not. */
  readonly answer: string | null
  readonly parse_error: string | null
  readonly outcome: NonNullable<ScoredRow['outcome']>
  /** The move, answer units; null where there is none (unparseable, or a judgement). */
  readonly dx: number | null
  readonly dy: number | null
  /** Centre of the moved block where the answer puts it, and where it came to rest; world units. */
  readonly placed: ScoredRow['placed']
  readonly settled: ScoredRow['settled']
  /** d of paper 1 §3.4, world units; null where nothing was placed. */
  readonly distance_world: number | null
  /** What the reward that scored it live gave. */
  readonly recorded_reward: number
}

/** What the exported function gives: a number, or one with the terms that add up to it. */
export type CustomRewardValue =
  | number
  | { readonly reward: number; readonly reward_components: Readonly<Record<string, number>> }

/** Must depend on nothing but its argument: the same completion earns the same whenever it is asked. */
export type CustomRewardFunction = (completion: RecordedCompletion) => CustomRewardValue

/** A reward file that was read, under the name that its rows will have. */
export interface CustomReward {
  readonly name: string
  readonly version: number
  readonly dialect: (typeof DIALECTS)[number]
  /** File name and function, for messages. */
  readonly where: string
  readonly source_sha256: string
  readonly evaluate: CustomRewardFunction
}

/** The reward function itself is wrong: where, on what, expected and actual are in the message. */
export class RewardFunctionError extends Error {
  override readonly name = 'RewardFunctionError'
}

/** How often each run asks twice for the same completion. */
const ASKED_TWICE = 64

/**
 * Asks a reward function and holds the answer against what a reward must be. The completion is frozen.
 *
 * @throws RewardFunctionError when it throws, gives no finite number, or gives another one when asked again.
 */
export function checkedReward({ where, evaluate }: Pick<CustomReward, 'where' | 'evaluate'>) {
  let asked = 0
  return (completion: RecordedCompletion): { reward: number; reward_components: Record<string, number> } => {
    const fail = (expected: string, actual: string, cause?: unknown): never => {
      const { group_id, completion_index, task, outcome } = completion
      throw new RewardFunctionError(
        `${where}, completion ${completion_index} of group ${group_id} (${task}, ${outcome}): expected ${expected}, ${actual}`,
        { cause },
      )
    }
    const once = (): unknown => {
      try {
        return evaluate(completion)
      } catch (error) {
        return fail('a number', `but it threw ${String(error)}${placeIn(error)}`, error)
      }
    }
    Object.freeze(completion)
    const value = once()
    const given = typeof value === 'number' ? { reward: value, reward_components: {} } : value
    if (!isReward(given)) {
      return fail('a finite number, or {reward, reward_components} of finite numbers', `got ${shown(value)}`)
    }
    if (asked < ASKED_TWICE) {
      asked++
      const again = shown(once())
      if (again !== shown(value)) fail('the same reward when asked twice', `got ${shown(value)} and then ${again}`)
    }
    return { reward: given.reward + 0, reward_components: { ...given.reward_components } }
  }
}

function isReward(value: unknown): value is { reward: number; reward_components: Record<string, number> } {
  if (typeof value !== 'object' || value === null) return false
  const { reward, reward_components } = value as Record<string, unknown>
  return (
    Number.isFinite(reward) &&
    typeof reward_components === 'object' &&
    reward_components !== null &&
    Object.values(reward_components).every((part) => Number.isFinite(part))
  )
}

function shown(value: unknown): string {
  if (typeof value === 'number' || value === undefined) return String(value)
  if (value instanceof Promise) return 'a promise (the function is async)'
  try {
    return JSON.stringify(value, (_key, inner) => (typeof inner === 'number' ? String(inner) : inner)) ?? typeof value
  } catch {
    return typeof value
  }
}

/** The innermost place of a stack, without the query that a module's address may have. */
const PLACE = /\/([^/\s)?]+)(?:\?[^:\s)]*)?:(\d+):\d+\)?$/m

/** ` at FILE:LINE` of what was thrown. */
function placeIn(error: unknown): string {
  const [, place, line] = (error instanceof Error && PLACE.exec(error.stack ?? '')) || []
  return place === undefined ? '' : ` at ${place}:${line}`
}
