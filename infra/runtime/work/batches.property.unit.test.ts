import fc from 'fast-check'
import { expect, test } from 'vitest'
import { causeOf, InvariantError, inputTopics, isA, type Transform } from '../../../processors/processor.ts'
import type { Event } from '../../../schemas/declare/event.ts'
import {
  add,
  added,
  append,
  appendRaw,
  counted,
  double,
  doubled,
  PARTITIONS,
  recordsOf,
  runUntilRead,
  TOPICS,
  vocabulary,
} from '../../../testing/counting.ts'
import { memoryBlobs } from '../../blobs/memory.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'
import type { Claim, Log, LogRecord, Member, NewRecord, Position, Producer } from '../../log/port/log.ts'
import { verifyStage } from '../../verify/verify-stage.ts'
import { execute } from '../execute/execution.ts'
import { DEAD_LETTERS_TOPIC, type JournalEntry, journalTopic } from '../internal/internal-topics.ts'
import { readJson, toJson } from '../internal/json-records.ts'
import { reachOf } from '../state/rerun.ts'
import { appendBatch, takeParts } from './batch.ts'
import { Task } from './task.ts'

/**
 * A model without padding: the output for an event depends on the sum of its batch and the event's place in it. It runs
 * out of memory on a batch with more than three heavy events, and fails on some events always.
 */
const summing: Transform = {
  shape: 'transform',
  name: 'count',
  version: 1,
  about: 'sums a batch',
  variant: [],
  produces: 'derived',
  inputs: [added, doubled],
  outputs: [counted],
  max_batch: 16,
  apply(events, { emit }) {
    const amounts = events.map((event) => (isA(event, added) ? event.data.amount : 1))
    if (amounts.includes(-2)) throw new Error('a bug of the model')
    if (amounts.includes(-1)) throw new InvariantError('amount -1: expected 0 or more')
    if (amounts.filter((amount) => amount >= 100).length > 3) throw new Error('out of memory')
    const sum = amounts.reduce((total, amount) => total + amount, 0)
    events.forEach((event, at) => {
      emit(counted, { who: event.key, sum: sum * 100 + at }, { causes: [causeOf(event)] })
    })
  },
}

const verify = (log: Log) =>
  verifyStage(
    { name: 'count', variant: [], create: () => summing },
    { log, blobs: memoryBlobs(), vocabulary, partitions: PARTITIONS },
  )

/** A copy of the log with other offsets. Every record goes through `change`. */
async function copyOf(log: Log, change: (record: LogRecord) => NewRecord = (record) => record): Promise<Log> {
  const copy = memoryLog()
  await copy.createTopics(TOPICS)
  const producer = await copy.producer({ transactional_id: 'copy' })
  for (const { name } of TOPICS) {
    const transaction = producer.begin()
    for (const record of await recordsOf(log, name)) transaction.append(name, record.partition, change(record))
    await transaction.commit()
  }
  await producer.close()
  return copy
}

function withoutBatches(record: LogRecord): NewRecord {
  if (record.topic !== journalTopic('count')) return record
  const { taken, ...entry } = readJson<JournalEntry>(record)
  return { ...record, value: toJson({ ...entry, taken: { dead: taken?.dead ?? [] } }) }
}

const KEYS = ['ann', 'bob', 'cat', 'dan']
const amount = fc.oneof(
  { weight: 12, arbitrary: fc.nat(9) },
  { weight: 4, arbitrary: fc.constant(100) },
  { weight: 2, arbitrary: fc.constantFrom(-1, -2) },
)
const input = fc.record({
  who: fc.constantFrom(...KEYS),
  amount,
  kind: fc.constantFrom('add', 'add', 'double', 'twice'),
})
const inputs = fc.array(input, { minLength: 1, maxLength: 60 })
/** One poll, of `max_bytes` (an event has about 500), and the action after it. */
const step = fc.record({
  max_bytes: fc.integer({ min: 1, max: 12_000 }),
  after: fc.constantFrom('poll', 'poll', 'commit', 'commit', 'crash', 'poison'),
})

/** The actions of a worker, one call at a time, so that only the steps decide where a batch ends. */
class SteppedWorker {
  readonly #log: Log
  readonly #member: Member
  readonly #producer: Producer
  readonly #blobs = memoryBlobs()
  #tasks = this.#fresh()
  readonly #positions = new Map<string, Position>()

  static async open(log: Log): Promise<SteppedWorker> {
    const member = await log.join({ group: 'count', topics: inputTopics(summing), session_timeout_ms: 60_000 })
    await member.poll({ max_bytes: 1, wait_ms: 0 })
    return new SteppedWorker(log, member, await log.producer({ transactional_id: 'count' }))
  }

  private constructor(log: Log, member: Member, producer: Producer) {
    this.#log = log
    this.#member = member
    this.#producer = producer
  }

  #fresh(): Task[] {
    const shared = { processor: summing, partitions: PARTITIONS, vocabulary, blobs: this.#blobs }
    const reach = reachOf({ blobs: this.#blobs })
    return [0, 1].map((partition) => new Task({ ...shared, partition, execution: execute(summing, reach) }))
  }

  async poll(max_bytes: number): Promise<boolean> {
    const { records, positions, claim } = await this.#member.poll({ max_bytes, wait_ms: 0 })
    for (const task of this.#tasks) await task.process(records.filter(({ partition }) => partition === task.partition))
    for (const position of positions) this.#positions.set(`${position.topic}/${position.partition}`, position)
    this.#claim = claim
    return records.length > 0
  }
  #claim: Claim | undefined

  async commit(): Promise<void> {
    if (this.#claim === undefined) return
    const transaction = this.#producer.begin()
    const batch = { claim: this.#claim, positions: [...this.#positions.values()], parts: takeParts(this.#tasks) }
    appendBatch(transaction, summing, batch, PARTITIONS)
    this.#positions.clear()
    await transaction.commit()
  }

  /** Uncommitted records are processed again, in other batches. */
  async crash(): Promise<void> {
    this.#tasks = this.#fresh()
    this.#positions.clear()
    const begins = inputTopics(summing).flatMap((topic) => [0, 1].map((partition) => ({ topic, partition, next: 0n })))
    const committed = await this.#log.committed('count')
    this.#member.seek(begins.map((begin) => committed.find((at) => samePlace(at, begin)) ?? begin))
  }
}

const samePlace = (one: Position, other: Position) => one.topic === other.topic && one.partition === other.partition

test('a transform whose output depends on its batch gives the same on replay: irregular polls, batches halved by failures, kills and restarts', async () => {
  let without_boundaries = 0
  await fc.assert(
    fc.asyncProperty(inputs, fc.array(step, { maxLength: 12 }), async (given, steps) => {
      const log = memoryLog()
      await log.createTopics(TOPICS)
      const events = given.flatMap(({ who, amount, kind }): Event[] => {
        const event = (kind === 'double' ? double(who) : add(who, amount)) as Event
        return kind === 'twice' ? [event, event] : [event]
      })
      await append(log, ...events.slice(0, events.length >> 1))
      const worker = await SteppedWorker.open(log)
      const poison = async () =>
        await appendRaw(log, added.type, 0, { key: 'ann', headers: [], value: Buffer.from('{') })
      for (const { max_bytes, after } of steps) {
        await worker.poll(max_bytes)
        if (after === 'commit') await worker.commit()
        if (after === 'crash') await worker.crash()
        if (after === 'poison') await poison()
      }
      await append(log, ...events.slice(events.length >> 1))
      while (await worker.poll(5_000));
      await worker.commit()

      const emitted = (await recordsOf(log, counted.type)).length
      const letters = (await recordsOf(log, DEAD_LETTERS_TOPIC)).length
      const read = (await recordsOf(log, added.type)).length + (await recordsOf(log, doubled.type)).length
      expect(emitted + letters).toBe(read)
      const all = { rebuilt: emitted, equal: emitted, recorded: emitted, differences: 0 }
      expect(await verify(log)).toMatchObject(all)
      expect(await verify(await copyOf(log))).toMatchObject(all)
      without_boundaries += (await verify(await copyOf(log, withoutBatches))).differences
    }),
    { numRuns: 100 },
  )
  expect(without_boundaries).toBeGreaterThan(0)
}, 30_000)

test('the journal lists batches and dead letters by their place in the commit, as runs', async () => {
  const log = memoryLog()
  await log.createTopics(TOPICS)
  const amounts = [1, 2, -1, 3, -2, -2, ...Array.from({ length: 26 }, () => 1)]
  await append(log, ...amounts.map((of) => add('ann', of)))
  await runUntilRead({ log, processor: summing, tuning: { max_bugs: 1e9 } })
  const entries = (await recordsOf(log, journalTopic('count'))).map((record) => readJson<JournalEntry>(record))
  expect(entries.map(({ runs, taken }) => ({ runs, taken }))).toEqual([
    {
      runs: [[0, 32]],
      // 16 records: 8 (4 (2, the third fails, 1), 4 (both fail, 2)), 8; then 16.
      taken: {
        dead: [
          [2, 1],
          [4, 2],
        ],
        batches: [
          [2, 1],
          [1, 1],
          [2, 1],
          [8, 1],
          [16, 1],
        ],
      },
    },
  ])
  expect((await recordsOf(log, DEAD_LETTERS_TOPIC)).length).toBe(3)
})
