/**
 * Completions and rewards as they are sent to a reward file's thread and back. A structured clone of objects writes
 * every name and every repeated text again, which costs more than evaluating a reward; arrays of plain values cost a
 * fifth.
 */
import type { RecordedCompletion, Reward } from '../processors/rescore-completions/custom-reward.ts'

/** The completions of some events. */
export interface PackedCompletions {
  /** How many completions each event has. */
  readonly counts: readonly number[]
  /** TEXTS for each completion; undefined where the completion before it has the same text. */
  readonly texts: readonly (string | null | undefined)[]
  /** NUMBERS for each completion; NaN for null: recorded numbers are finite. */
  readonly numbers: Float64Array
}

const TEXTS = 6
const NUMBERS = 9

export function packCompletions(events: readonly (readonly RecordedCompletion[])[]): PackedCompletions {
  const counts = events.map((completions) => completions.length)
  const texts: (string | null | undefined)[] = []
  const numbers = new Float64Array(NUMBERS * counts.reduce((sum, count) => sum + count, 0))
  let before: RecordedCompletion | undefined
  let at = 0
  for (const completions of events) {
    for (const completion of completions) {
      const { group_id, scene_id, task, answer, parse_error, outcome, placed, settled } = completion
      texts.push(
        group_id === before?.group_id ? undefined : group_id,
        scene_id === before?.scene_id ? undefined : scene_id,
        task === before?.task ? undefined : task,
        answer === before?.answer ? undefined : answer,
        parse_error === before?.parse_error ? undefined : parse_error,
        outcome === before?.outcome ? undefined : outcome,
      )
      numbers[at++] = completion.completion_index
      numbers[at++] = completion.dx ?? Number.NaN
      numbers[at++] = completion.dy ?? Number.NaN
      numbers[at++] = placed?.x ?? Number.NaN
      numbers[at++] = placed?.y ?? Number.NaN
      numbers[at++] = settled?.x ?? Number.NaN
      numbers[at++] = settled?.y ?? Number.NaN
      numbers[at++] = completion.distance_world ?? Number.NaN
      numbers[at++] = completion.recorded_reward
      before = completion
    }
  }
  return { counts, texts, numbers }
}

export function unpackCompletions({ counts, texts, numbers }: PackedCompletions): RecordedCompletion[][] {
  let before: RecordedCompletion | undefined
  let index = 0
  const text = (column: number) => texts[index * TEXTS + column]
  const number = (column: number) => numbers[index * NUMBERS + column] as number
  const nullable = (column: number) => (Number.isNaN(number(column)) ? null : number(column))
  const position = (column: number) =>
    Number.isNaN(number(column)) ? null : { x: number(column), y: number(column + 1) }
  const next = (): RecordedCompletion => {
    const [parse_error, answer] = [text(4), text(3)]
    const completion = {
      group_id: text(0) ?? before?.group_id,
      completion_index: number(0),
      scene_id: text(1) ?? before?.scene_id,
      task: text(2) ?? before?.task,
      answer: answer === undefined ? before?.answer : answer,
      parse_error: parse_error === undefined ? before?.parse_error : parse_error,
      outcome: text(5) ?? before?.outcome,
      dx: nullable(1),
      dy: nullable(2),
      placed: position(3),
      settled: position(5),
      distance_world: nullable(7),
      recorded_reward: number(8),
    } as RecordedCompletion
    before = completion
    index++
    return completion
  }
  return counts.map((count) => Array.from({ length: count }, next))
}

/** The rewards of one event's completions. */
export interface PackedRewards {
  readonly rewards: readonly number[]
  /** Null when no reward has any. */
  readonly components: readonly Reward['reward_components'][] | null
}

export function packRewards(rewards: readonly Reward[]): PackedRewards {
  const some = rewards.some(({ reward_components }) => Object.keys(reward_components).length > 0)
  return {
    rewards: rewards.map(({ reward }) => reward),
    components: some ? rewards.map(({ reward_components }) => reward_components) : null,
  }
}

export function unpackRewards({ rewards, components }: PackedRewards): Reward[] {
  return rewards.map((reward, at) => ({ reward, reward_components: components?.[at] ?? {} }))
}
