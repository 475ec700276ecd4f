import { beforeEach, expect, test } from 'vitest'
import type { Event } from '../../schemas/declare/event.ts'
import { decodeEvent, encodeEvent } from '../../schemas/wire/codec.ts'
import {
  add,
  append,
  appendRaw,
  counted,
  counting,
  double,
  PARTITIONS,
  recordsOf,
  runUntilRead,
  TOPICS,
  vocabulary,
} from '../../testing/counting.ts'
import { memoryBlobs } from '../blobs/memory.ts'
import { memoryLog } from '../log/memory/memory-log.ts'
import type { Log } from '../log/port/log.ts'
import { sleep } from '../sleep.ts'
import { verifyStage } from './verify-stage.ts'

let log: Log

beforeEach(async () => {
  log = memoryLog()
  await log.createTopics(TOPICS)
  for (let round = 0; round < 5; round++) {
    await append(log, add('ann', round), double('ann'), add('bob', 1), add('ann', 7))
    await append(log, double('bob'), add('ann', 1))
    if (round % 2 === 0) await runUntilRead({ log })
  }
  await runUntilRead({ log })
})

const verify = (processor = counting(), of = log) =>
  verifyStage(
    { name: 'count', variant: [], create: () => processor },
    { log: of, blobs: memoryBlobs(), vocabulary, partitions: PARTITIONS },
  )

/** A tampered copy: every record of the outputs goes through `change`, and offsets differ. */
async function copyWith(
  change: (event: Event<typeof counted>, index: number) => Event<typeof counted>[],
): Promise<Log> {
  const copy = memoryLog()
  await copy.createTopics(TOPICS)
  for (const { name } of TOPICS) {
    let index = 0
    for (const record of await recordsOf(log, name)) {
      if (name !== counted.type) {
        await appendRaw(copy, name, record.partition, record)
        continue
      }
      for (const event of change(decodeEvent(record, vocabulary) as Event<typeof counted>, index++)) {
        await appendRaw(copy, name, record.partition, encodeEvent(counted, event as Event))
      }
    }
  }
  return copy
}

test('passes on what was recorded, although the order of two topics decided the values', async () => {
  expect(await verify()).toMatchObject({ rebuilt: 30, equal: 30, recorded: 30, differences: 0 })
})

test('passes on a copy whose offsets differ', async () => {
  expect(await verify(counting(), await copyWith((event) => [event]))).toMatchObject({ equal: 30, differences: 0 })
})

test('names a changed value, with the recorded and the recomputed one', async () => {
  const copy = await copyWith((event, index) => [index === 3 ? { ...event, data: { ...event.data, sum: 999 } } : event])
  const report = await verify(counting(), copy)
  expect(report).toMatchObject({ equal: 29, differences: 1, first: { kind: 'different' } })
  expect(report.first?.message).toMatch(/sum: recorded 999, rebuilt \d+/)
})

test('passes when a source delivered an event twice', async () => {
  const twice = add('eve', 3)
  await append(log, twice, twice)
  await runUntilRead({ log })
  expect(await verify()).toMatchObject({ rebuilt: 32, equal: 32, differences: 0 })
})

test('names an event that is missing from the log, and one that no processor emitted', async () => {
  expect(await verify(counting(), await copyWith((event, index) => (index === 3 ? [] : [event])))).toMatchObject({
    differences: 1,
    first: { kind: 'missing' },
  })
  const invented = (event: Event<typeof counted>, index: number) =>
    index === 3 ? [event, { ...event, id: 'e'.repeat(32) }] : [event]
  expect(await verify(counting(), await copyWith(invented))).toMatchObject({
    differences: 1,
    first: { kind: 'unexpected', ce_id: 'e'.repeat(32) },
  })
})

test('fails on a processor whose logic has changed', async () => {
  const changed = counting({
    apply: (state, event, emit) => {
      emit(counted, { who: event.key, sum: 1 })
      return state ?? { sum: 1 }
    },
  })
  expect((await verify(changed)).differences).toBeGreaterThan(20)
})

test('passes concurrently with a running worker', async () => {
  let going = true
  const producing = (async () => {
    while (going) {
      await append(log, add('ann', 1), add('bob', 2), double('ann'))
      // Each verification reads all of it: without a pause a slow machine has ever more to read.
      await sleep(2)
    }
  })()
  const running = runUntilRead({ log })
  const reports = []
  for (let round = 0; round < 5; round++) reports.push(await verify())
  going = false
  await Promise.all([producing, running])
  expect(reports.map((report) => report.first)).toEqual(reports.map(() => undefined))
})
