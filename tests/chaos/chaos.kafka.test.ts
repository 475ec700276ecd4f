import { rm } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { describeWithBroker } from '../../testing/with-broker.ts'
import { chaosReport } from './chaos-test.ts'
import { scheduleOf } from './schedule.ts'

/** The small version of `npm run test:chaos -- --seed S --faults 100`. */

const SEED = '1'
const FAULTS = 15

test('the same seed gives the same schedule, another seed another one, and every kind of fault is in it', () => {
  expect(scheduleOf('1', 100)).toEqual(scheduleOf('1', 100))
  expect(scheduleOf('2', 100)).not.toEqual(scheduleOf('1', 100))
  const kinds = (faults: number) => {
    const by = Map.groupBy(scheduleOf(SEED, faults), ({ fault }) => fault.kind.replace(/ at$/, ''))
    return Object.fromEntries([...by].map(([kind, steps]) => [kind, steps.length]))
  }
  expect(kinds(100)).toEqual({
    ...{ kill: 39, 'kill tables': 6, zombie: 18, rebalance: 15 },
    ...{ 'kill a broker': 15, 'stop a broker': 7, 'stall the cluster': 5, 'blobs away': 5 },
  })
  expect(kinds(FAULTS)).toEqual({
    ...{ kill: 5, 'kill tables': 2, zombie: 3, rebalance: 2 },
    ...{ 'kill a broker': 2, 'stop a broker': 1, 'stall the cluster': 1, 'blobs away': 1 },
  })
})

describeWithBroker('three brokers, three workers, two producers and a sink', () => {
  test("killed, stopped past their sessions, stalled, rebalanced, fifteen times, and the blobs unavailable once, DuckDB's process killed and a topic recreated: nothing lost, nothing twice, the funnel holds, verify passes", {
    timeout: 1_200_000,
  }, async () => {
    const { ok, text, folder } = await chaosReport({ seed: SEED, faults: FAULTS })
    if (folder !== undefined && process.env.CI) await rm(folder, { recursive: true, force: true })
    expect(ok, text).toBe(true)
  })
})
