import type { Event, EventType } from '../declare/event.ts'
import { rowsOf } from '../declare/event.ts'
import {
  BlobUnavailableError,
  EventTooLargeError,
  InvalidEventError,
  PoisonError,
  shown,
} from '../declare/event-errors.ts'
import type { BlobRef } from '../declare/logical-types.ts'
import { perObject } from '../declare/per-object.ts'
import type { Catalogue } from '../declare/registry.ts'
import { upcastData } from '../declare/upcast.ts'
import { type ArrowCodec, arrowCodec, type EncodedRows, type Lists, type Row } from './arrow-codec.ts'
import { dataSchemaUri, type EventVersion, fingerprintOf, versionsOf } from './fingerprint.ts'
import { CONTENT_TYPES, type Header, headersOf, offloadedBlobs, parseHeaders, type RecordHeaders } from './headers.ts'
import { type JsonCodec, jsonCodec } from './json-codec.ts'
import { type Blob, type FetchedBlobs, offloadedColumns } from './offload.ts'
import { physical } from './type-table.ts'
import { validateData, wouldRefuseToday } from './validation.ts'

export { BlobUnavailableError, EventTooLargeError, InvalidEventError, offloadedBlobs, PoisonError }

/** An event's part of a log record. */
export interface EncodedRecord {
  readonly key: string | null
  readonly headers: readonly Header[]
  readonly value: Uint8Array | null
}

export interface EncodedEvent extends EncodedRecord {
  readonly key: string
  readonly value: Uint8Array
  /** Large columns. They must be durable before the transaction that appends the record commits. */
  readonly blobs: readonly Blob[]
}

export const MAX_EVENT_BYTES = 512 * 1024
/** More than any release wrote and any broker's default limit. JSON takes thirty times its bytes in memory. */
const MAX_READ_BYTES = 16 * MAX_EVENT_BYTES

/**
 * Encodes an event as a record. Pure; equal events give equal bytes.
 *
 * @throws InvalidEventError when data or envelope violate the declaration. EventTooLargeError over 512 KiB.
 */
export function encodeEvent(type: EventType, event: Event): EncodedEvent {
  if (event.type !== type.type || event.version !== type.version) {
    throw new InvalidEventError(`expected ${type.type} v${type.version}, got ${event.type} v${event.version}`)
  }
  const key = validateData(type, event.data, type, event.before_rules ? 'types' : 'all')
  if (key !== event.key) {
    throw new InvalidEventError(
      `${type.type} v${type.version}: key: expected ${type.key} of the data, ${shown(key)}, got ${shown(event.key)}`,
    )
  }
  const { json, arrow } = codecsOf(type, type)
  const {
    bytes: value,
    blobs,
    refs,
  } = type.encoding === 'arrow' ? arrow.encode(rowsOf(event)) : alone(json.encode(event.data))
  if (value.length > MAX_EVENT_BYTES) throw tooLarge(type, event, value.length)
  return {
    key,
    headers: headersOf(type, event, refs, wouldRefuseToday(type, event) === undefined),
    value,
    blobs,
  }
}

const alone = (bytes: Uint8Array): EncodedRows => ({ bytes, blobs: [], refs: [] })

/**
 * The blobs whose bytes `decodeEvent` needs. Tensors are decoded as references, except in an event of an earlier version,
 * whose upcaster may compute with them, and where an earlier release did not record which of them are null.
 */
export function blobsToDecode(record: EncodedRecord, events: Catalogue): readonly BlobRef[] {
  const named = offloadedBlobs(record)
  if (named.length === 0 || record.value === null) return named
  const headers = parseHeaders(record.headers)
  const type = events.get(headers.envelope.type)
  if (type?.version !== headers.written_by.version) return named
  try {
    return Object.entries(offloadedColumns(record.value)).flatMap(([name, stored]) => {
      const field = type.row[name]
      const is_reference =
        field !== undefined && physical(field.logical).by_reference && !(field.nullable && stored.nulls === undefined)
      return is_reference ? [] : [stored]
    })
  } catch {
    return named // decoding gives the reason
  }
}

/**
 * The event in a record, upcast to the current version and validated. `blobs` returns the bytes of the blobs that
 * `offloadedBlobs(record)` names, at least of those in `blobsToDecode`; the caller must have verified their hashes.
 *
 * @param lists `checked`: lists of numbers that are valid may be left out, as empty ones
 * @throws PoisonError when the record is no event of the catalogue. BlobUnavailableError when a blob was not given.
 */
export function decodeEvent(
  record: EncodedRecord,
  events: Catalogue,
  blobs: FetchedBlobs = () => undefined,
  lists: Lists = 'decoded',
): Event {
  const headers = parseHeaders(record.headers)
  const { envelope } = headers
  const type = events.get(envelope.type)
  if (type === undefined) throw new PoisonError(`header ce_type: ${shown(envelope.type)} is not in the catalogue`)
  const written = versionOf(type, headers)
  const where = `${type.type} v${written.version}`
  if (headers.content_type !== CONTENT_TYPES[type.encoding]) {
    throw new PoisonError(
      `${where}: header content-type: expected ${CONTENT_TYPES[type.encoding]}, got ${shown(headers.content_type)}`,
    )
  }
  if (record.value === null) throw new PoisonError(`${where}: expected a value, got none`)
  if (record.value.length > MAX_READ_BYTES) {
    throw new PoisonError(`${where}: expected at most ${MAX_READ_BYTES} bytes, got ${record.value.length}`)
  }
  const original = decodeValue(type, written, record.value, blobs, lists)
  const asked = headers.obeys_rules ? 'all' : 'types'
  let key = poisonous(() => validateData(type, original, written, asked))
  let data = original
  if (written.version !== type.version) {
    data = poisonous(() => upcastData(type, written.version, original))
  }
  data = poisonous(() => upcastValues(type, data))
  if (data !== original) key = poisonous(() => validateData(type, data, type, asked))
  if (record.key !== key) throw otherKey(type, where, 'record key', key, record.key)
  if (envelope.key !== key) throw otherKey(type, where, 'header ce_partitionkey', key, envelope.key)
  // Nothing else refers to the envelope, so it becomes the event without a copy.
  const event = envelope as { -readonly [K in keyof Event]: Event[K] }
  event.version = type.version
  event.data = data as Event['data']
  if (asked === 'types') event.before_rules = true
  return event
}

/**
 * One Arrow IPC stream with a batch for each of these events of a type, in pieces. Bytes that need no change are copied;
 * large columns that were stored in blobs are in the stream.
 *
 * @param parts each record, which was decoded before, with its blobs and how to decode it with its tensors as elements
 * @param metadata of the schema, in addition to that of the declaration
 */
export function joinEvents(
  type: EventType<'arrow'>,
  parts: readonly { readonly record: EncodedRecord; readonly blobs: FetchedBlobs; readonly event: () => Event }[],
  metadata: ReadonlyMap<string, string>,
): Uint8Array[] {
  const { arrow } = codecsOf(type, type)
  return arrow.join(
    parts.map(({ record, blobs, event }) => {
      const is_current = parseHeaders(record.headers).written_by.version === type.version
      return { bytes: is_current ? (record.value ?? undefined) : undefined, blobs, rows: () => rowsOf(event()) }
    }),
    metadata,
  )
}

/** Values with a version of their own, upcast; the data itself where all are current. */
function upcastValues(type: EventType, data: unknown): unknown {
  const fields = ownVersions(type)
  if (fields.length === 0) return data
  let changed = false
  const rows = (Array.isArray(data) ? data : [data]).map((before: Row) => {
    let row = before
    for (const [name, upcast] of fields) {
      const value = upcast(row[name])
      if (value === row[name]) continue
      row = { ...row, [name]: value }
      changed = true
    }
    return row
  })
  if (!changed) return data
  return Array.isArray(data) ? rows : rows[0]
}

const ownVersions = perObject((type: EventType) =>
  Object.entries(type.row).flatMap(([name, { logical }]) => {
    const upcast = physical(logical).upcast?.(logical)
    return upcast === undefined ? [] : [[name, (value: unknown) => (value === null ? null : upcast(value))] as const]
  }),
)

function otherKey(type: EventType, where: string, what: string, key: string, found: string | null): PoisonError {
  return new PoisonError(`${where}: ${what}: expected ${type.key} of the data, ${shown(key)}, got ${shown(found)}`)
}

/** Cache: a parsed `ce_dataschema` header → the declared version that it matched. */
const verified = new WeakMap<
  RecordHeaders['written_by'],
  { readonly type: EventType; readonly version: EventVersion }
>()

function versionOf(type: EventType, { written_by }: RecordHeaders): EventVersion {
  const found = verified.get(written_by)
  if (found?.type === type) return found.version
  const { version, fingerprint } = written_by
  const known = versionsOf(type).find((candidate) => candidate.version === version)
  if (known === undefined) {
    const problem =
      version > type.version ? 'was written by a newer program: update this one' : 'has no upcaster here any more'
    throw new PoisonError(`${type.type} v${version} ${problem}; this program reads up to v${type.version}`)
  }
  if (!fingerprintOf(type, known).startsWith(fingerprint)) {
    throw new PoisonError(
      `${type.type} v${version}: header ce_dataschema: expected ${dataSchemaUri(type, known)}, got fingerprint ${fingerprint}; the writer's declaration of this version is another one`,
    )
  }
  verified.set(written_by, { type, version: known })
  return known
}

function decodeValue(
  type: EventType,
  version: EventVersion,
  value: Uint8Array,
  blobs: FetchedBlobs,
  lists: Lists,
): unknown {
  const { json, arrow } = codecsOf(type, version)
  // An upcaster may look at the lists.
  const is_current = version.version === type.version
  try {
    return type.encoding === 'arrow'
      ? arrow.decode(value, blobs, is_current, is_current ? lists : 'decoded')
      : json.decode(value)
  } catch (error) {
    if (error instanceof BlobUnavailableError) throw error
    const format = type.encoding === 'arrow' ? 'an Arrow IPC stream of its rows' : 'a JSON object'
    throw new PoisonError(`${type.type} v${version.version}: expected ${format}: ${messageOf(error)}`)
  }
}

/** Invalid contents are the record's fault: rethrows any error as a PoisonError, because no retry can help. */
function poisonous<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw new PoisonError(messageOf(error))
  }
}

interface Codecs {
  readonly json: JsonCodec
  readonly arrow: ArrowCodec
}
const compiled = new WeakMap<EventType, Map<number, Codecs>>()

function codecsOf(type: EventType, version: EventVersion): Codecs {
  const versions = compiled.get(type) ?? new Map<number, Codecs>()
  compiled.set(type, versions)
  const known = versions.get(version.version)
  if (known !== undefined) return known
  const metadata = new Map([['plumbline.dataschema', dataSchemaUri(type, version)]])
  const codecs = { json: jsonCodec(version.row), arrow: arrowCodec(version.row, metadata) }
  versions.set(version.version, codecs)
  return codecs
}

function tooLarge(type: EventType, event: Event, bytes: number): EventTooLargeError {
  const rows = rowsOf(event).map((row) => codecsOf(type, type).json.toJson(row) as Row)
  const [largest] = Object.keys(type.row)
    .map((name) => ({ name, bytes: rows.reduce((sum, row) => sum + JSON.stringify(row[name]).length, 0) }))
    .sort((a, b) => b.bytes - a.bytes)
  const kib = (count: number) => `${Math.ceil(count / 1024)} KiB`
  const remedy = type.encoding === 'arrow' ? 'Split the rows over several events' : 'Say less in it'
  return new EventTooLargeError(
    `${type.type} v${type.version} ${event.id}: encoded as ${kib(bytes)}, at most ${kib(MAX_EVENT_BYTES)}; most of it is field ${largest?.name} (${kib(largest?.bytes ?? 0)} as JSON). ${remedy}, or put that field's bytes into a blob and its reference into the event.`,
  )
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error))
