import { createHash } from 'node:crypto'
import type { LastRead, LogRecord, NewRecord, Position, Seen } from './log.ts'

/** Only a prefix of the value is hashed: a value may have megabytes, and the id in the headers tells events apart. */
const HASHED_BYTES = 4096

/** A short hash of a record's content, independent of its place: key, headers, the value's length and first bytes. */
export function digestOf({ key, headers, value }: NewRecord): string {
  const named = headers.flatMap((header) => [header.name, header.value])
  const hash = createHash('sha256').update(JSON.stringify([key, value?.byteLength ?? null, ...named]))
  if (value !== null) hash.update(value.subarray(0, HASHED_BYTES))
  return hash.digest('base64url').slice(0, 16)
}

export function lastRead(record: LogRecord): LastRead {
  return { offset: record.offset, appended_ms: record.appended_ms, digest: digestOf(record) }
}

/**
 * The `seen` of a position reached by reading on from `before`. `record` is the last one read; without it, the last
 * record of `before` stays, if that is of the same topic.
 */
export function seenAfter(before: Pick<Position, 'seen'>, topic_id: string, record: LogRecord | undefined): Seen {
  const kept = before.seen?.topic_id === topic_id ? before.seen.last : undefined
  const last = record === undefined ? kept : lastRead(record)
  return last === undefined ? { topic_id } : { topic_id, last }
}

const VERSION = '1'
const NOTHING = '-'

/** One line of text, the form that every driver and the DuckDB file store. */
export function encodeSeen({ topic_id, last, state_in, by }: Seen): string {
  const parts = last === undefined ? [NOTHING, NOTHING, NOTHING] : [last.offset, last.appended_ms, last.digest]
  return [VERSION, topic_id || NOTHING, ...parts, state_in || NOTHING, by || NOTHING].join(' ')
}

/** As `digestOf` makes it. */
const DIGEST = /^[\w-]{16}$/
const isNumber = (text: string) => text !== '' && Number.isFinite(Number(text))

/** Undefined for damaged text, and for text that another program or an earlier release wrote. */
export function decodeSeen(text: string | null | undefined): Seen | undefined {
  const [version, topic_id = '', offset = '', appended_ms = '', digest = '', state_in = NOTHING, by = NOTHING] =
    text?.split(' ') ?? []
  if (version !== VERSION || topic_id === '') return undefined
  const has_last = [offset, appended_ms, digest].some((part) => part !== NOTHING)
  // Damaged text must not become a position that only lacks its last record.
  if (has_last && !(/^\d+$/.test(offset) && isNumber(appended_ms) && DIGEST.test(digest))) return undefined
  return {
    topic_id: topic_id === NOTHING ? '' : topic_id,
    ...(has_last ? { last: { offset: BigInt(offset), appended_ms: Number(appended_ms), digest } } : {}),
    ...(state_in === NOTHING ? {} : { state_in }),
    ...(by === NOTHING ? {} : { by }),
  }
}

/** A stored position, with its `seen` if one was stored. */
export function positionOf(topic: string, partition: number, next: bigint, text?: string | null): Position {
  const seen = decodeSeen(text)
  return seen === undefined ? { topic, partition, next } : { topic, partition, next, seen }
}
