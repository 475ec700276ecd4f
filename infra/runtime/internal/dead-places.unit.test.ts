import { beforeEach, describe, expect, test } from 'vitest'
import { causeOf } from '../../../processors/processor.ts'
import type { Event } from '../../../schemas/declare/event.ts'
import { clockTicked } from '../../../schemas/events/clock.ts'
import { encodeEvent } from '../../../schemas/wire/codec.ts'
import { partitionOf } from '../../../schemas/wire/routing.ts'
import {
  add,
  added,
  append,
  appendRaw,
  counted,
  counting,
  PARTITIONS,
  recordsOf,
  runUntilRead,
  TOPICS,
  vocabulary,
} from '../../../testing/counting.ts'
import { tick } from '../../../testing/test-driver.ts'
import { memoryBlobs } from '../../blobs/memory.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'
import type { Log, LogRecord, ReadRequest } from '../../log/port/log.ts'
import { verifyStage } from '../../verify/verify-stage.ts'
import { DEAD_LETTERS_TOPIC, type JournalEntry, journalTopic } from './internal-topics.ts'
import { readJson, toJson } from './json-records.ts'

let log: Log
beforeEach(async () => {
  log = memoryLog()
  await log.createTopics(TOPICS)
})

/** Counts, and emits the sum again when a tick expires the key. A sum of 7 fails to expire for the first hour. */
const expiring = counting({
  deadline: () => ({ clock: 'virtual', time: '2026-01-01T00:00:00.000Z' }),
  expire: (state, now, emit) => {
    if (state.sum === 7 && now.time < '2026-01-01T01:00:00.000Z') throw new Error('stuck')
    const cause = causeOf(add('any', 1) as Event)
    emit(counted, { who: `expired-${state.sum}`, sum: state.sum }, { causes: [{ ...cause, id: `sum ${state.sum}` }] })
    return undefined
  },
})

const verify = (of: Log, processor = expiring) =>
  verifyStage(
    { name: 'count', variant: [], create: () => processor },
    { log: of, blobs: memoryBlobs(), vocabulary, partitions: PARTITIONS },
  )

/** A copy whose offsets differ: an aborted transaction precedes the first record of every partition. */
async function shifted(of: Log): Promise<Log> {
  const copy = memoryLog()
  await copy.createTopics(TOPICS)
  for (const { name, partitions } of TOPICS) {
    const aborted = (await copy.producer({ transactional_id: 'shift' })).begin()
    for (let partition = 0; partition < partitions; partition++)
      aborted.append(name, partition, { key: null, headers: [], value: null })
    await aborted.abort()
    for (const record of await recordsOf(of, name)) await appendRaw(copy, name, record.partition, record)
  }
  return copy
}

/** The same log as an earlier release wrote it: its journal lists neither batches nor dead letters. */
function asWrittenBefore(of: Log): Log {
  const before = (record: LogRecord): LogRecord => {
    if (record.topic !== journalTopic('count')) return record
    const { taken: _taken, ...entry } = readJson<JournalEntry>(record)
    return { ...record, value: toJson(entry) }
  }
  return new Proxy(of, {
    get(target, name) {
      if (name === 'read')
        return async (request: ReadRequest) => {
          const result = await target.read(request)
          return { ...result, records: result.records.map(before) }
        }
      const value: unknown = Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

/** The same event with an unreadable value, as a broken producer redelivers it. */
async function appendPoison(event: Event): Promise<void> {
  const { key, headers } = encodeEvent(added, event)
  await appendRaw(log, added.type, partitionOf(key, PARTITIONS), { key, headers, value: Buffer.from('{"who":') })
}

async function expectSound(): Promise<void> {
  const letters = (await recordsOf(log, DEAD_LETTERS_TOPIC)).length
  expect(letters).toBeGreaterThan(0)
  const { length: recorded } = await recordsOf(log, counted.type)
  const all = { rebuilt: recorded, equal: recorded, recorded, differences: 0 }
  const offsets = async (of: Log) => (await recordsOf(of, added.type)).map(({ offset }) => offset)
  expect(await offsets(await shifted(log))).not.toEqual(await offsets(log))
  for (const of of [log, await shifted(log), asWrittenBefore(log), asWrittenBefore(await shifted(log))])
    expect(await verify(of)).toMatchObject(all)
}

describe('a dead letter is skipped where it was, in the log, in a copy, and with a journal of an earlier release:', () => {
  test('a poison redelivery after a sound event with the same ce_id', async () => {
    const event = add('ann', 3) as Event
    await append(log, event, add('ann', 1))
    await appendPoison(event)
    await append(log, add('ann', 4))
    await runUntilRead({ log, processor: expiring })
    await expectSound()
  })

  test('one before it, and several of them, read in several commits', async () => {
    const event = add('ann', 3) as Event
    await appendPoison(event)
    await appendPoison(event)
    await runUntilRead({ log, processor: expiring })
    await append(log, event, add('ann', 1), event)
    await appendPoison(event)
    await runUntilRead({ log, processor: expiring })
    await expectSound()
  })

  test('a tombstone on the clock’s topic, with the ce_id of a tick that was processed', async () => {
    await append(log, add('ann', 3), add('bob', 4))
    const at = tick('virtual', '2026-01-01T00:10:00.000Z')
    await append(log, at)
    const { key, headers } = encodeEvent(clockTicked, at as Event)
    for (let partition = 0; partition < PARTITIONS; partition++)
      await appendRaw(log, clockTicked.type, partition, { key, headers, value: null })
    await append(log, tick('virtual', '2026-01-01T00:20:00.000Z'))
    await runUntilRead({ log, processor: expiring })
    await expectSound()
  })

  test('a tick on which one key could not expire, and the others did', async () => {
    await append(log, add('ann', 7), add('bob', 4), add('cat', 5))
    await append(log, tick('virtual', '2026-01-01T00:10:00.000Z'))
    await runUntilRead({ log, processor: expiring })
    await append(log, tick('virtual', '2026-01-01T02:00:00.000Z'))
    await runUntilRead({ log, processor: expiring })
    await expectSound()
  })
})

test('a key that failed to expire is not expired at that tick by a rebuild whose processor could do so', async () => {
  await append(log, add('ann', 7))
  await append(log, tick('virtual', '2026-01-01T00:10:00.000Z'))
  await runUntilRead({ log, processor: expiring })
  const mended = counting({
    ...expiring,
    expire: (state, now, emit) => expiring.expire?.(state.sum === 7 ? { sum: 8 } : state, now, emit, undefined),
  })
  expect(await verify(log, mended)).toMatchObject({ equal: 1, differences: 0 })
})

/** The three differences: the failed input, its output and its state. */
test('an event that was accepted and fails now is named, with the reason', async () => {
  await append(log, add('ann', 3), add('bob', 1))
  await runUntilRead({ log })
  const broken = counting({
    apply(state, event, emit) {
      if (event.key === 'bob') throw new Error('bob is too much')
      return counting().apply(state, event, emit, undefined)
    },
  })
  expect(await verify(log, broken)).toMatchObject({
    equal: 1,
    differences: 3,
    first: { kind: 'failed', where: 'test.added, key bob', message: expect.stringContaining('bob is too much') },
  })
})
