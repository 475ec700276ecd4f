import fc from 'fast-check'
import type { Event } from '../../schemas/declare/event.ts'
import { tick } from '../../testing/test-driver.ts'
import { requested, sampled, sampledRow, scored, scoredRow } from '../../testing/tower-events.ts'
import type { Histories } from '../conformance/histories.ts'

const SIZE = 3
const attempt = fc.constantFrom('attempt-1', 'attempt-1', 'attempt-2')
/** −1 is poison, 3 and 4 are out of range. */
const index = fc.constantFrom(0, 0, 1, 1, 2, 2, 3, 4, -1)
const reward = fc.constantFrom(20, 3, 0, -5, null)
/** 9 is a token that the policy lists as unsupported: those of later events have it, so that groups form too. */
const tokenAt = (at: number) => (at >= 4 ? 9 : 1)
const policy = 'openai(http://127.0.0.1:8000/v1, tiny, {"unsupported_tokens":[9]})'
const rowOf = fc.record({ index, attempt, reward })
const answers = fc.array(fc.uniqueArray(rowOf, { selector: (row) => row.index, minLength: 1, maxLength: 4 }), {
  maxLength: 6,
})
const TIMES = ['2026-01-01T00:30:00', '2026-01-01T01:00:00', '2026-01-05T00:00:00', '2026-01-08T01:00:00']
const ticks = fc.array(fc.constantFrom(...TIMES), { maxLength: 3 })
const logprobs = [Math.fround(-0.1), 0]

/** Request, completions, their scores and ticks of one group, in any order. */
export const histories: Histories = fc
  .record({ answers, ticks, is_requested: fc.boolean() })
  .chain(({ answers, ticks, is_requested }) => {
    const events = [
      ...(is_requested ? [requested({ group_size: SIZE })] : []),
      ...ticks.map((time, at) => tick('virtual', `${time}.00${at}Z`)),
      ...answers.flatMap((rows, at) => [sampledEvent(rows, at), scoredEvent(rows, at)]),
    ] as readonly Event[]
    return fc.shuffledSubarray([...events], { minLength: events.length })
  })

interface Row {
  readonly index: number
  readonly attempt: string
  readonly reward: number | null
}

function sampledEvent(rows: readonly Row[], at: number) {
  const sampledRows = rows.map(({ index, attempt }) => {
    const tokens = { token_ids: [tokenAt(at), 2], logprobs, token_policy_version: [index, 2 ** 40] }
    return sampledRow(index, { attempt_id: attempt, policy, ...tokens })
  })
  return sampled(`s${at}`, ...sampledRows)
}

function scoredEvent(rows: readonly Row[], at: number) {
  const outcome = (reward: number | null) => (reward === null ? null : ('stable' as const))
  const scoredRows = rows.map(({ index, attempt, reward }) =>
    scoredRow(index, `s${at}`, { attempt_id: attempt, reward, outcome: outcome(reward) }),
  )
  return scored(`c${at}`, ...scoredRows)
}
