import { expect, test } from 'vitest'
import { rescoreCompletions } from '../../processors/rescore-completions/rescore-completions.ts'
import type { Event } from '../../schemas/declare/event.ts'
import { completionsRescored } from '../../schemas/events/reward.ts'
import { completionsScored } from '../../schemas/events/tower.ts'
import { decodeEvent, encodeEvent } from '../../schemas/wire/codec.ts'
import { catalogue, vocabulary } from '../../streams/vocabulary.ts'
import { append, createTopics, PARTITIONS } from '../../testing/duckdb/recorded-tower.ts'
import { memoryBlobs } from '../blobs/memory.ts'
import { memoryLog } from '../log/memory/memory-log.ts'
import type { Log, LogRecord, NewRecord } from '../log/port/log.ts'
import { readRange } from '../runtime/internal/json-records.ts'
import { sweep } from '../runtime/rebuild/sweep.ts'
import { verifySweep } from './verify-sweep.ts'

const GROUPS = 9
const group = 'rescore/mine'
const reward = () =>
  rescoreCompletions({
    name: 'mine',
    version: 1,
    dialect: 'paper',
    where: 'mine.ts reward()',
    source_sha256: 'a'.repeat(64),
    evaluate: (completions) =>
      completions.map(({ recorded_reward }) => ({ reward: recorded_reward / 2, reward_components: {} })),
  })
const options = (log: Log) => ({ log, blobs: memoryBlobs(), vocabulary, partitions: PARTITIONS })

async function rescored(): Promise<Log> {
  const log = memoryLog()
  await createTopics(log, catalogue)
  for (let at = 0; at < GROUPS; at++) await append(log, (story) => story.scored(`g${at}`, [20, 0, -5]))
  await sweep(reward(), { ...options(log), group })
  return log
}

const verify = (log: Log) =>
  verifySweep({ transform: reward(), group, name: 'rescore mine', wanted: () => true }, options(log))

/** A copy of the scored and rescored records, without positions. Every rescored record goes through `change`. */
async function copyOf(log: Log, change: (record: LogRecord, index: number) => NewRecord | undefined): Promise<Log> {
  const copy = memoryLog()
  await createTopics(copy, catalogue)
  const producer = await copy.producer({ transactional_id: 'copy' })
  let index = 0
  for (const topic of [completionsScored.type, completionsRescored.type]) {
    for (let partition = 0; partition < PARTITIONS; partition++) {
      for await (const record of readRange(log, topic, partition, 0n)) {
        const changed = topic === completionsScored.type ? record : change(record, index++)
        if (changed === undefined) continue
        const transaction = producer.begin()
        transaction.append(topic, partition, changed)
        await transaction.commit()
      }
    }
  }
  return copy
}

test('rescored events are recomputed and equal, in the log and in a copy; later completions are not expected', async () => {
  const log = await rescored()
  await append(log, (story) => story.scored('later', [1]))
  const all = { rebuilt: GROUPS, equal: GROUPS, recorded: GROUPS, differences: 0 }
  expect(await verify(log)).toMatchObject(all)
  expect(await verify(await copyOf(log, (record) => record))).toMatchObject(all)
})

test('a changed reward, a lost row and an invented one are each found', async () => {
  const log = await rescored()
  const changed = await copyOf(log, (record, index) => {
    if (index !== 4) return record
    const event = decodeEvent(record, vocabulary) as Event<typeof completionsRescored>
    const data = event.data.map((row, at) => (at === 1 ? { ...row, reward: 7 } : row))
    return encodeEvent(completionsRescored, { ...event, data } as unknown as Event)
  })
  expect(await verify(changed)).toMatchObject({
    differences: 1,
    first: { kind: 'different', message: 'row 1 field reward: recorded 7, rebuilt 0' },
  })

  // The first of its partition, so that recorded outputs follow it.
  const lost = await copyOf(log, (record, index) => (index === 0 ? undefined : record))
  expect(await verify(lost)).toMatchObject({ differences: 1, first: { kind: 'missing' } })

  const invented = await copyOf(log, (record, index) => {
    if (index !== 0) return record
    const headers = record.headers.map(({ name, value }) => ({
      name,
      value: name === 'ce_id' ? 'e'.repeat(32) : value,
    }))
    return { ...record, headers }
  })
  expect(await verify(invented)).toMatchObject({ differences: 2 })
})
