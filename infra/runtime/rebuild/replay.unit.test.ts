import { expect, test } from 'vitest'
import {
  add,
  append,
  counting,
  double,
  EVENTS,
  PARTITIONS,
  recordsOf,
  runUntilRead,
  TOPICS,
  vocabulary,
} from '../../../testing/counting.ts'
import { memoryBlobs } from '../../blobs/memory.ts'
import { factSourceOf } from '../../ce-source.ts'
import { MemoryBroker } from '../../log/memory/broker.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'
import { verifyStage } from '../../verify/verify-stage.ts'
import { headerOf } from '../internal/json-records.ts'
import { replay } from './replay.ts'
import { type ReplayOptions, ReplayRefusedError } from './replay-options.ts'

type Place = ReplayOptions['from']
const place = (): Place => ({ log: memoryLog(), blobs: memoryBlobs() })

function options(from: Place, to: Place, more: Partial<ReplayOptions> = {}): ReplayOptions {
  const signal = new AbortController().signal
  const shared = { name: 'replay/test', events: EVENTS, vocabulary, what: 'whole', speed: Infinity, signal } as const
  return { from, to, ...shared, ...more }
}

test('a log whose offsets have gaps is copied so that the copy verifies', async () => {
  const from = place()
  await from.log.createTopics(TOPICS)
  // In the memory log each transaction leaves a gap.
  for (let step = 0; step < 20; step++) await append(from.log, add('ann', step), double('ann'), add('bob', step))
  await runUntilRead({ ...from, tuning: { max_unsaved_bytes: 300 } })
  const to = place()
  // One record per transaction; the replay is stopped and resumed every few records.
  for (let complete = false, rounds = 0; !complete; rounds++) {
    const stop = new AbortController()
    let left = 7
    const onProgress = () => --left === 0 && stop.abort()
    ;({ complete } = await replay(options(from, to, { signal: stop.signal, batch_records: 1, onProgress })))
    expect(rounds).toBeLessThan(200)
  }
  const emitted = async ({ log }: Place) =>
    (await recordsOf(log, 'test.counted')).map((record) => headerOf(record, 'ce_id'))
  expect(await emitted(to)).toEqual(await emitted(from))
  const stage = { name: 'count', variant: [], create: () => counting() }
  const report = await verifyStage(stage, { ...to, vocabulary, partitions: PARTITIONS })
  expect(report).toMatchObject({ differences: 0, rebuilt: 60 })
  // A worker resumes in the copy as it would have in the original log.
  await append(to.log, add('ann', 1))
  await runUntilRead(to)
  expect((await recordsOf(to.log, 'test.counted')).length).toBe(61)
  await expect(replay(options(from, to))).rejects.toThrow(ReplayRefusedError)
})

test('sources only: events that an effect recorded are copied, events that a processor derived are not', async () => {
  const from = place()
  await from.log.createTopics(TOPICS)
  await append(from.log, add('ann', 1), { ...add('ann', 2), source: factSourceOf('ask') })
  await runUntilRead(from)
  const to = place()
  expect(await replay(options(from, to, { what: 'sources' }))).toMatchObject({ records: 2, complete: true })
  expect(await recordsOf(to.log, 'test.added')).toHaveLength(2)
  expect((await to.log.topics()).map(({ name }) => name)).toEqual(['test.added', 'test.counted', 'test.doubled'])
})

test('a pause adds to the wait for the next record, and begins once the records that were due are committed', async () => {
  const from = place()
  await from.log.createTopics(TOPICS)
  const at = (second: number) => ({ ...add('ann', second), time: `2026-01-01T00:00:0${second}.000Z` })
  await append(from.log, at(0), at(2))
  const to = place()
  const PAUSE_MS = 400
  let asked = false
  let held: number | undefined
  const paused = () => {
    if (asked) return undefined
    asked = true
    return async () => {
      held = (await recordsOf(to.log, 'test.added')).length
      // Blocks the thread, like a stopped process.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS)
    }
  }
  const began = performance.now()
  // The first record is due at once; the pause is requested during the wait for the second one.
  await replay(
    options(from, to, {
      what: 'sources',
      speed: 10,
      paused: () => (performance.now() > began + 60 ? paused() : undefined),
    }),
  )
  expect(held).toBe(1)
  expect(performance.now() - began).toBeGreaterThan(2_000 / 10 + PAUSE_MS - 10)
})

test('a recorded log with a recreated topic is another log: the same replay does not resume in it', async () => {
  const broker = new MemoryBroker()
  const from = { log: memoryLog({ broker }), blobs: memoryBlobs() }
  await from.log.createTopics(TOPICS)
  await append(from.log, add('ann', 1), add('ann', 1))
  const to = place()
  await replay(options(from, to, { what: 'sources' }))
  broker.deleteTopic('test.added')
  await from.log.createTopics(TOPICS)
  await append(from.log, ...Array.from({ length: 9 }, () => add('ann', 100)))
  const again = replay(options(from, to, { what: 'sources' }))
  await expect(again).rejects.toThrow(ReplayRefusedError)
  await expect(again).rejects.toThrow(/is another log now: test\.added partition \d .*replay it into another place/)
  expect(await recordsOf(to.log, 'test.added')).toHaveLength(2)
})
