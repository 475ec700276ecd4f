import type { Transform } from '../../../processors/processor.ts'
import type { Event } from '../../../schemas/declare/event.ts'
import type { Catalogue } from '../../../schemas/declare/registry.ts'
import type { Partitions } from '../../../schemas/wire/partitions.ts'
import { homesOf } from '../../../schemas/wire/routing.ts'
import type { Blobs } from '../../blobs/blobs.ts'
import { putAll } from '../../blobs/put-all.ts'
import type { ComputePool } from '../../compute/compute.ts'
import type { Log, LogRecord, NewRecord, Position } from '../../log/port/log.ts'
import { partitionName } from '../../log/port/partition-name.ts'
import { seenAfter } from '../../log/port/seen.ts'
import { decodeUnlessPoison } from '../execute/decode-record.ts'
import type { Reach } from '../execute/reach.ts'
import { type Called, callTransform } from '../execute/transform-call.ts'
import { expectSameTopics, misplacedError, misplacedIn } from '../state/misplaced.ts'
import { reachOf } from '../state/rerun.ts'
import { ResumingProducer } from '../work/resuming-producer.ts'

export interface SweepOptions {
  readonly log: Log
  readonly blobs: Blobs
  readonly vocabulary: Catalogue
  readonly partitions: Partitions
  readonly compute?: Pick<ComputePool, 'run'>
  /** Names the sweep: its positions are committed under this group. */
  readonly group: string
  /** Appended with the first outputs; ignored when the group already has positions. */
  readonly preface?: readonly { readonly topic: string; readonly partition: number; readonly record: NewRecord }[]
  readonly signal?: AbortSignal
  readonly onProgress?: (records: number, of: number) => void
}

export interface Swept {
  /** Input records read by this call, unreadable ones included. */
  readonly records: number
  /** Events and rows emitted by this call. */
  readonly events: number
  readonly rows: number
  /** Input records that could not be decoded; the workers that read them live write dead letters for them. */
  readonly unreadable: number
}

const CHUNK_BYTES = 2 * 1024 * 1024
/** Events decoded and processed together. Inferred: enough that handing them to another thread costs little for each. */
const SLICE = 16

/**
 * Runs a transform once over the current records of a log, in bounded memory. The outputs of a chunk and the position
 * after it are one transaction. A killed sweep resumes at its last commit, and a complete one adds nothing; a later
 * call processes records appended since. One event is one call, so equal inputs give equal identities.
 *
 * @throws the transform's error; nothing of the chunk that failed is written.
 * @throws TopicReplacedError when a topic that the sweep has read was replaced.
 */
export async function sweep(transform: Transform, options: SweepOptions): Promise<Swept> {
  const { log, blobs, partitions, group, preface = [], signal, onProgress } = options
  const producer = await ResumingProducer.open(log, { transactional_id: group, group })
  // The next chunk is read and processed while this one is flushed.
  let committing: Promise<void> = Promise.resolve()
  const swept = { records: 0, events: 0, rows: 0, unreadable: 0 }
  try {
    const misplaced = await misplacedIn(log, producer.positions)
    if (misplaced.length > 0) throw misplacedError(log, group, misplaced)
    const committed = new Map(producer.positions.map((at) => [partitionName(at), at]))
    const ids = new Map((await log.topics()).map(({ name, id }) => [name, id]))
    let toSay = committed.size === 0 ? preface : []
    const ranges = await rangesOf(transform, log, committed)
    const total = ranges.reduce((sum, { from, end }) => sum + Number(end - from), 0)
    for (const { topic, partition, from, end } of ranges) {
      let before: Pick<Position, 'seen'> = committed.get(partitionName({ topic, partition })) ?? {}
      for (let next = from; next < end && !signal?.aborted; ) {
        const chunk = await log.read({ topic, partition, from: next, max_bytes: CHUNK_BYTES })
        if (chunk.next <= next) break
        const records = chunk.records.filter(({ offset }) => offset < end)
        const processed = await processedInSlices(records, transform, options).catch((error: unknown) => {
          if (signal?.aborted) return undefined
          throw error
        })
        if (processed === undefined) break
        const { called, unreadable } = processed
        const outputs = called.flatMap((call) => call.outputs)
        swept.records += records.length
        swept.unreadable += unreadable
        const appends = [...toSay]
        await putAll(
          blobs,
          called.flatMap((call) => [...call.blobs, ...call.outputs.flatMap(({ encoded }) => encoded.blobs)]),
        )
        for (const { type, event: emitted, encoded } of outputs) {
          const { key, headers, value } = encoded
          for (const partition of homesOf(type, key, partitions)) {
            appends.push({ topic: type.type, partition, record: { key, headers, value } })
          }
          swept.events++
          swept.rows += Array.isArray(emitted.data) ? emitted.data.length : 1
        }
        const reached = chunk.next < end
        next = reached ? chunk.next : end
        const position = { topic, partition, next, seen: seenAfter(before, ids.get(topic) ?? '', records.at(-1)) }
        before = position
        await expectSameTopics(log, group, [position])
        await committing
        committing = producer.commit(
          (transaction) => {
            for (const append of appends) transaction.append(append.topic, append.partition, append.record)
          },
          [position],
        )
        committing.catch(() => undefined) // the next await rethrows it
        toSay = []
        onProgress?.(swept.records, total)
      }
    }
    await committing
    const read = ranges.map(({ topic, partition, end }) => {
      return { topic, partition, next: end, seen: { topic_id: ids.get(topic) ?? '' } }
    })
    await expectSameTopics(log, group, read)
    return swept
  } finally {
    await committing.catch(() => undefined)
    await producer.close()
  }
}

interface Processed {
  readonly called: readonly Called[]
  readonly unreadable: number
}

/**
 * Decodes a slice of events while the transform works on the slice before it, which may be in another thread. Only what
 * the calls gave outlives their slice.
 */
async function processedInSlices(
  records: readonly LogRecord[],
  transform: Transform,
  options: SweepOptions,
): Promise<Processed> {
  const { vocabulary, partitions, blobs, signal } = options
  const reach = reachOf(options, signal)
  const called: Called[] = []
  let unreadable = 0
  let working: Promise<readonly Called[]> = Promise.resolve([])
  for (let from = 0; from < records.length; from += SLICE) {
    const events: Event[] = []
    for (const record of records.slice(from, from + SLICE)) {
      const event = await decodeUnlessPoison(record, vocabulary, partitions, blobs)
      if (event === undefined) unreadable++
      else events.push(event)
    }
    const next = callEach(transform, events, reach)
    next.catch(() => undefined) // awaited below, or not at all when the slice before it fails
    called.push(...(await working))
    working = next
  }
  called.push(...(await working))
  return { called, unreadable }
}

/** One event is one call. The calls of a slice run concurrently; what they give is in the order of the events. */
async function callEach(transform: Transform, events: readonly Event[], reach: Reach): Promise<Called[]> {
  return await Promise.all(events.map((event) => callTransform(transform, [event], reach)))
}

/** Per input partition with a backlog: where to resume, and its current end. */
async function rangesOf(transform: Transform, log: Log, committed: ReadonlyMap<string, Position>) {
  const ranges: { topic: string; partition: number; from: bigint; end: bigint }[] = []
  for (const { type: topic } of transform.inputs) {
    const beginnings = await log.beginningOffsets(topic)
    const ends = await log.endOffsets(topic)
    for (const [partition, end] of ends.entries()) {
      const beginning = beginnings[partition] ?? 0n
      const known = committed.get(partitionName({ topic, partition }))?.next ?? 0n
      const from = known > beginning ? known : beginning
      if (from < end) ranges.push({ topic, partition, from, end })
    }
  }
  return ranges
}
