import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { faultReport } from './fault-test.ts'
import { scheduleOf, sizesOf } from './schedule.ts'

/** The small version of `npm run test:faults -- --seed S --kills 50`. */

const SEED = '1'
/** Seven of its eight kills happen during a commit. */
const BUSY_SEED = '1445'
const SMALL = sizesOf(8)
/** Processes, the checks at the end, and the topic that is recreated. */
const NOTHING = {
  ...{ kills: 1, stops_outside: 0, stops_inside: 0, full_disks: 0, clock_jumps: 0, blobs_away: 0 },
  tables_killed: 0,
}
const linux = existsSync('/proc/self/stat')
const skipped = linux ? '' : ' (skipped: who holds the lock is read from /proc, which only Linux has)'

/** For the message of a failed test, in one line: a drill that breaks early never meets the planted bug. */
const breaches = (text: string): string =>
  text
    .split('\n')
    .filter((line) => line.startsWith('BROKEN'))
    .join('; ')

test('the same seed gives the same schedule, another seed another one', () => {
  expect(scheduleOf('1', sizesOf(50))).toEqual(scheduleOf('1', sizesOf(50)))
  expect(scheduleOf('2', sizesOf(50))).not.toEqual(scheduleOf('1', sizesOf(50)))
  const kinds = Map.groupBy(scheduleOf('1', sizesOf(50)), ({ fault }) => fault.kind.split(' ')[0])
  expect([...kinds].map(([kind, steps]) => [kind, steps.length]).sort()).toEqual([
    ['blobs', 3],
    ['clock', 4],
    ['fill', 3],
    ['kill', 54],
    ['stop', 7],
  ])
})

test.skipIf(!linux)(
  `killed eight times, stopped past a lease and inside a write, on a full disk, under a clock that jumps, with blobs that disappear and come back, DuckDB's process killed, and a topic recreated: nothing lost, nothing twice, the funnel holds, verify passes${skipped}`,
  { timeout: 900_000 },
  async () => {
    const { ok, text } = await faultReport({ seed: SEED, sizes: SMALL })
    expect(ok, text).toBe(true)
  },
)

test.skipIf(!linux)(
  `positions committed before their outputs: that bug is caught, with its seed and how to repeat it${skipped}`,
  { timeout: 900_000 },
  async () => {
    const { ok, text, folder } = await faultReport({ seed: BUSY_SEED, sizes: SMALL, planted: ['early-positions'] })
    if (folder !== undefined) await rm(folder, { recursive: true, force: true })
    expect(ok, text).toBe(false)
    expect(text, breaches(text)).toMatch(/BROKEN: \d+ groups of the virtual clock are lost/)
    // A missing journal entry shows as a read of another record if more entries follow, otherwise as different outputs.
    expect(text, breaches(text)).toMatch(/BROKEN: verify: (verify: FAILED|.*read another record of )/s)
    expect(text).toContain(`again: npm run test:faults -- --seed ${BUSY_SEED} --kills 8 --plant early-positions`)
  },
)

test.skipIf(!linux)(
  `an unavailable blob store treated as a bad record, batches that are not journalled, positions of the tables committed before their rows: each bug is caught, with how to repeat it${skipped}`,
  { timeout: 900_000 },
  async () => {
    const sizes = { ...NOTHING, blobs_away: 2, tables_killed: 2 }
    const planted = ['lost-blobs', 'lost-batches', 'early-table-positions'] as const
    const { ok, text, folder } = await faultReport({ seed: SEED, sizes, planted })
    if (folder !== undefined) await rm(folder, { recursive: true, force: true })
    expect(ok, text).toBe(false)
    expect(text, breaches(text)).toMatch(
      /BROKEN: a dead letter of .*: policy.completions_sampled .* is absent or empty/,
    )
    expect(text, breaches(text)).toMatch(/BROKEN: batches: estimate-completions: \d+ differences/)
    expect(text, breaches(text)).toMatch(/BROKEN: .*: the log holds \d+ events, DuckDB \d+/)
    expect(text).toContain('--plant lost-blobs,lost-batches,early-table-positions')
  },
)

test.skipIf(!linux)(
  `positions that do not name their topic: that bug is caught when the topic is recreated${skipped}`,
  { timeout: 900_000 },
  async () => {
    // Workers that look while the topic is not there stop, as sound ones do: then another run.
    for (let attempt = 1; ; attempt++) {
      const { ok, text, folder } = await faultReport({ seed: SEED, sizes: NOTHING, planted: ['bare-positions'] })
      if (folder !== undefined) await rm(folder, { recursive: true, force: true })
      if (ok && attempt < 4) continue
      expect(ok, text).toBe(false)
      expect(text, breaches(text)).toMatch(/BROKEN: worker-\d goes on in rollout.requested, which was made again/)
      return
    }
  },
)
