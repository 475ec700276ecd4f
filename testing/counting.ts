import { z } from 'zod'
import { memoryBlobs } from '../infra/blobs/memory.ts'
import { withShortPolls } from '../infra/log/conformance/altered-log.ts'
import type { Log, LogRecord } from '../infra/log/port/log.ts'
import { readRange } from '../infra/runtime/internal/json-records.ts'
import { topicsOf } from '../infra/runtime/state/topics.ts'
import { Worker, type WorkerEvent, type WorkerOptions } from '../infra/runtime/work/worker.ts'
import { type Fold, InvariantError, isA } from '../processors/processor.ts'
import { defineEvent, type Event, type EventType } from '../schemas/declare/event.ts'
import { int32, utf8 } from '../schemas/declare/logical-types.ts'
import { catalogueOf } from '../schemas/declare/registry.ts'
import { clockTicked } from '../schemas/events/clock.ts'
import { decodeEvent, encodeEvent } from '../schemas/wire/codec.ts'
import { partitionOf } from '../schemas/wire/routing.ts'
import { example } from './test-driver.ts'

/** A minimal pipeline for tests of the runtime: two inputs, state, an output, and ticks for deadlines. */

const shared = { version: 1, key: 'who', encoding: 'json', retention: 'source', about: '' } as const
export const added = defineEvent({ ...shared, type: 'test.added', row: { who: utf8(), amount: int32() } })
export const doubled = defineEvent({ ...shared, type: 'test.doubled', row: { who: utf8() } })
export const counted = defineEvent({ ...shared, type: 'test.counted', row: { who: utf8(), sum: int32() } })

export const EVENTS: readonly EventType[] = [added, doubled, counted, clockTicked]
export const vocabulary = catalogueOf(EVENTS)
export const PARTITIONS = 2

interface Count {
  sum: number
}

/** Adds and doubles in input order: the interleaving of its inputs changes the result. */
export function counting(overrides: Partial<Fold<Count>> = {}): Fold<Count> {
  return {
    shape: 'fold',
    name: 'count',
    version: 1,
    about: 'adds and doubles',
    variant: [],
    produces: 'derived',
    inputs: [added, doubled],
    outputs: [counted],
    state: { version: 1, schema: z.object({ sum: z.int() }) },
    apply(state, event, emit) {
      const before = state?.sum ?? 0
      const sum = (isA(event, added) ? before + amountOf(event) : before * 2) % 1_000_003
      emit(counted, { who: event.key, sum })
      return { sum }
    },
    ...overrides,
  }
}

/** Negative amounts are faults: −1 makes the event invalid, −2 is a bug of the processor. */
function amountOf({ data: { amount } }: Event<typeof added>): number {
  if (amount === -1) throw new InvariantError('amount -1: expected 0 or more')
  if (amount === -2) throw new Error('a bug of the processor')
  return amount
}

export const TOPICS = topicsOf(EVENTS, [{ name: 'count' }], PARTITIONS)

let unique = 0

export async function append(log: Log, ...events: Event[]): Promise<void> {
  const producer = await log.producer({ transactional_id: `test/${unique++}` })
  const transaction = producer.begin()
  for (const event of events) {
    const { key, headers, value } = encodeEvent(vocabulary.get(event.type) as EventType, event)
    if (event.type === clockTicked.type) {
      for (let partition = 0; partition < PARTITIONS; partition++)
        transaction.append(event.type, partition, { key, headers, value })
    } else transaction.append(event.type, partitionOf(event.key, PARTITIONS), { key, headers, value })
  }
  await transaction.commit()
  await producer.close()
}

export async function appendRaw(
  log: Log,
  topic: string,
  partition: number,
  record: Omit<LogRecord, 'topic' | 'partition' | 'offset' | 'appended_ms'>,
): Promise<void> {
  const producer = await log.producer({ transactional_id: `test/${unique++}` })
  const transaction = producer.begin()
  transaction.append(topic, partition, record)
  await transaction.commit()
  await producer.close()
}

export const add = (who: string, amount: number) => example(added, { who, amount }, { id: `add-${unique++}` })
export const double = (who: string) => example(doubled, { who }, { id: `double-${unique++}` })

/** Runs a worker until it has read the whole log, then stops it as SIGTERM would. */
export async function runUntilRead(options: Partial<WorkerOptions> & { log: Log }): Promise<WorkerEvent[]> {
  const events: WorkerEvent[] = []
  const stop = new AbortController()
  const worker = new Worker({
    blobs: memoryBlobs(),
    processor: counting(),
    vocabulary,
    partitions: PARTITIONS,
    instance: `test-${unique++}`,
    onEvent: (event) => events.push(event),
    ...options,
    log: withShortPolls(options.log),
    tuning: { commit_interval_ms: 5, session_timeout_ms: 2_000, ...options.tuning },
  })
  let failure: unknown
  const running = worker.run(stop.signal).catch((error: unknown) => {
    failure = error
    stop.abort()
  })
  for (let quiet = 0; quiet < 3 && !stop.signal.aborted; quiet = worker.idle ? quiet + 1 : 0) {
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  stop.abort()
  await running
  if (failure !== undefined) throw failure
  return events
}

export async function recordsOf(log: Log, topic: string): Promise<LogRecord[]> {
  const records: LogRecord[] = []
  const { length } = await log.endOffsets(topic)
  for (let partition = 0; partition < length; partition++) {
    for await (const record of readRange(log, topic, partition, 0n)) records.push(record)
  }
  return records
}

/** The sums emitted for one key, in order. */
export async function sumsOf(log: Log, who: string): Promise<number[]> {
  const events = (await recordsOf(log, counted.type)).map(
    (record) => decodeEvent(record, vocabulary) as Event<typeof counted>,
  )
  return events.filter((event) => event.key === who).map((event) => event.data.sum)
}
