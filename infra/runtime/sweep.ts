import type { Transform } from '../../processors/processor.ts'
import { PoisonError } from '../../schemas/codec.ts'
import { type Partitions, partitionsOf } from '../../schemas/partitions.ts'
import type { Catalogue } from '../../schemas/registry.ts'
import { partitionOf } from '../../schemas/routing.ts'
import type { Blobs } from '../blobs/blobs.ts'
import type { Log, NewRecord } from '../log/log.ts'
import { decodeRecord } from './decode-record.ts'
import { emission } from './emission.ts'

export interface SweepOptions {
  readonly log: Log
  readonly blobs: Blobs
  readonly vocabulary: Catalogue
  readonly partitions: Partitions
  /** Names the work: how far it has come is kept under it. */
  readonly group: string
  /** Appended together with the first outputs of all; nothing when the group has been at work before. */
  readonly preface?: readonly { readonly topic: string; readonly partition: number; readonly record: NewRecord }[]
  readonly signal?: AbortSignal
  readonly onProgress?: (records: number, of: number) => void
}

export interface Swept {
  /** Input records that were taken now. */
  readonly records: number
  /** Events and rows that were said now. */
  readonly events: number
  readonly rows: number
  /** Input records that could not be decoded; the workers that read them live made dead letters of them. */
  readonly unreadable: number
}

const CHUNK_BYTES = 2 * 1024 * 1024

/**
 * Runs a transform over what a log holds now, once, in bounded memory: a chunk of records, its outputs and the
 * position after it are one transaction. A killed sweep goes on where it had committed, and one that is complete adds
 * nothing; a later one takes up what has come since. One event is one call, so equal inputs give equal identities.
 *
 * @throws what the transform throws: of the chunk that it threw on, nothing is written.
 */
export async function sweep(transform: Transform, options: SweepOptions): Promise<Swept> {
  const { log, blobs, vocabulary, partitions, group, preface = [], signal, onProgress } = options
  const producer = await log.producer({ transactional_id: group })
  // The next chunk is read and processed while this one is flushed.
  let committing: Promise<void> = Promise.resolve()
  const swept = { records: 0, events: 0, rows: 0, unreadable: 0 }
  try {
    const committed = new Map((await log.committed(group)).map((at) => [`${at.topic}/${at.partition}`, at.next]))
    let toSay = committed.size === 0 ? preface : []
    const ranges = await rangesOf(transform, log, committed)
    const total = ranges.reduce((sum, { from, end }) => sum + Number(end - from), 0)
    for (const { topic, partition, from, end } of ranges) {
      for (let next = from; next < end && !signal?.aborted; ) {
        const chunk = await log.read({ topic, partition, from: next, max_bytes: CHUNK_BYTES })
        if (chunk.next <= next) break
        const appends = [...toSay]
        for (const record of chunk.records) {
          if (record.offset >= end) break
          const event = await decodeRecord(record, vocabulary, partitions, blobs).catch((error: unknown) => {
            if (error instanceof PoisonError) return undefined
            throw error
          })
          swept.records++
          if (event === undefined) {
            swept.unreadable++
            continue
          }
          const { emit, outputs } = emission(transform, [event])
          await transform.apply([event], emit)
          for (const { type, event: said, encoded } of outputs) {
            for (const blob of encoded.blobs) await blobs.put(blob.bytes, blob.ref.media_type)
            const { key, headers, value } = encoded
            const partition = partitionOf(key, partitionsOf(partitions, type.type))
            appends.push({ topic: type.type, partition, record: { key, headers, value } })
            swept.events++
            swept.rows += Array.isArray(said.data) ? said.data.length : 1
          }
        }
        const reached = chunk.next < end
        next = reached ? chunk.next : end
        await committing
        const transaction = producer.begin()
        for (const append of appends) transaction.append(append.topic, append.partition, append.record)
        transaction.standalonePositions(group, [{ topic, partition, next }])
        committing = transaction.commit()
        committing.catch(() => undefined) // whoever awaits it hears
        toSay = []
        onProgress?.(swept.records, total)
      }
    }
    await committing
    return swept
  } finally {
    await committing.catch(() => undefined)
    await producer.close()
  }
}

/** Per input partition, where to go on and where it ends as of now. */
async function rangesOf(transform: Transform, log: Log, committed: ReadonlyMap<string, bigint>) {
  const ranges: { topic: string; partition: number; from: bigint; end: bigint }[] = []
  for (const { type: topic } of transform.inputs) {
    const beginnings = await log.beginningOffsets(topic)
    const ends = await log.endOffsets(topic)
    for (const [partition, end] of ends.entries()) {
      const beginning = beginnings[partition] ?? 0n
      const known = committed.get(`${topic}/${partition}`) ?? 0n
      const from = known > beginning ? known : beginning
      if (from < end) ranges.push({ topic, partition, from, end })
    }
  }
  return ranges
}
