import type { Envelope, Event, EventType } from '../declare/event.ts'
import { InvalidEventError, PoisonError, shown } from '../declare/event-errors.ts'
import type { BlobRef } from '../declare/logical-types.ts'
import { dataSchemaUri, parseDataSchemaUri } from './fingerprint.ts'
import { ARROW_STREAM } from './offload.ts'
import { blobCheck, isTimestamp } from './value-checks.ts'

/** One record header; the log port's header type has the same shape. */
export interface Header {
  readonly name: string
  readonly value: string
}

/** CloudEvents 1.0, Kafka protocol binding, binary mode: attributes are headers `ce_…`, the value is the data. */
export const CONTENT_TYPES = { json: 'application/json', arrow: ARROW_STREAM } as const

/** Not a CloudEvents header: the blobs that a reader must fetch before it can decode the value. */
const BLOBS = 'plumbline_blobs'

/**
 * Declares that bounds and row keys were checked when the record was written. They are checked again when it is read.
 * Earlier releases did neither, so a record without this header is read without these checks. A later release may use
 * a higher number.
 */
const RULES = { name: 'ce_schemarules', value: '1' }

/** The only header of a record that the log driver refused to decode; its value is the reason. */
export const REFUSED_RECORD = 'plumbline_refused'

/** The parsed headers of a record; the data is not decoded yet. */
export interface RecordHeaders {
  /** Without `version`, which is set after upcasting. */
  readonly envelope: Omit<Envelope, 'version'>
  /** The declaration that encoded the data. */
  readonly written_by: { readonly type: string; readonly version: number; readonly fingerprint: string }
  readonly content_type: string
  /** Whether the writer declared that the data obey bounds and row keys. */
  readonly obeys_rules: boolean
}

/** @throws InvalidEventError when an attribute would not be read back unchanged. */
export function headersOf(type: EventType, event: Event, blobs: readonly BlobRef[] = [], obeys_rules = true): Header[] {
  const fail = (attribute: string, expected: string, value: unknown): never => {
    throw new InvalidEventError(`${type.type} ${event.id}: ${attribute}: expected ${expected}, got ${shown(value)}`)
  }
  for (const attribute of ['id', 'source', 'key'] as const) {
    if (event[attribute] === '') fail(attribute, 'a text that is not empty', '')
  }
  if (event.id.includes(',')) fail('id', 'no comma', event.id)
  if (!isTimestamp(event.time)) fail('time', 'RFC 3339 in UTC with milliseconds', event.time)
  if (!areSorted(event.causes)) fail('causes', 'ids in ascending order, each once', event.causes.join(','))
  const headers = [
    { name: 'ce_specversion', value: '1.0' },
    { name: 'ce_id', value: event.id },
    { name: 'ce_source', value: event.source },
    { name: 'ce_type', value: event.type },
    { name: 'ce_time', value: event.time },
    { name: 'ce_subject', value: event.key },
    { name: 'ce_dataschema', value: dataSchemaUri(type) },
    { name: 'ce_partitionkey', value: event.key },
    { name: 'ce_clock', value: event.clock },
    { name: 'content-type', value: CONTENT_TYPES[type.encoding] },
  ]
  const add = (name: string, value: string | undefined) => {
    if (value !== undefined) headers.push({ name, value })
  }
  if (obeys_rules) add(RULES.name, RULES.value)
  if (event.causes.length > 0) add('ce_causationid', event.causes.join(','))
  add('ce_correlationid', event.correlation)
  add('ce_producerversion', event.producer_version)
  add('ce_modelhash', event.model_hash)
  add('ce_seed', event.seed)
  if (blobs.length > 0) add(BLOBS, JSON.stringify(blobs))
  for (const { name, value } of headers) if (!value.isWellFormed()) fail(name, 'whole Unicode characters', value)
  return headers
}

/** The headers that carry an event's attributes, each at most once. */
const ATTRIBUTES = [
  'ce_specversion',
  'ce_id',
  'ce_source',
  'ce_type',
  'ce_time',
  'ce_dataschema',
  'ce_partitionkey',
  'ce_clock',
  'ce_schemarules',
  'content-type',
  'ce_causationid',
  'ce_correlationid',
  'ce_producerversion',
  'ce_modelhash',
  'ce_seed',
] as const
type Attribute = (typeof ATTRIBUTES)[number]

/** Position of each attribute's header. Records of one topic nearly always have the same names in the same order. */
interface Layout {
  readonly names: readonly string[]
  /** −1 where there is none. */
  readonly at: { readonly [A in Attribute]: number }
}

/** @throws PoisonError when a header is repeated */
function layoutOf(headers: readonly Header[]): Layout {
  const places = new Map<string, number>()
  for (const [at, { name }] of headers.entries()) {
    if (places.has(name)) throw new PoisonError(`header ${name}: expected it once, got it twice`)
    places.set(name, at)
  }
  const at = Object.fromEntries(ATTRIBUTES.map((name) => [name, places.get(name) ?? -1])) as Layout['at']
  return { names: headers.map(({ name }) => name), at }
}

function fits({ names }: Layout, headers: readonly Header[]): boolean {
  if (names.length !== headers.length) return false
  for (let at = 0; at < names.length; at++) if (names[at] !== headers[at]?.name) return false
  return true
}

/** Cached from the previous record: the next one nearly always has the same layout and schema. */
let last_layout: Layout = { names: [], at: layoutOf([]).at }
let last_schema: { readonly uri: string; readonly written_by: RecordHeaders['written_by'] } | undefined

/** @throws PoisonError naming the header that is missing, repeated or wrong. */
export function parseHeaders(headers: readonly Header[]): RecordHeaders {
  if (!fits(last_layout, headers)) last_layout = layoutOf(headers)
  const { at } = last_layout
  const spec = valueAt(headers, at.ce_specversion)
  if (spec !== '1.0') {
    const refused = headers.find(({ name }) => name === REFUSED_RECORD)
    if (refused !== undefined) throw new PoisonError(refused.value)
    wrong('ce_specversion', '1.0', spec)
  }
  const type = textAt(headers, at, 'ce_type')
  const uri = valueAt(headers, at.ce_dataschema)
  if (last_schema === undefined || last_schema.uri !== uri || last_schema.written_by.type !== type) {
    const written_by = uri === undefined ? undefined : parseDataSchemaUri(uri)
    if (uri === undefined || written_by?.type !== type) {
      return wrong('ce_dataschema', `plumbline:${type}/VERSION/FINGERPRINT`, uri)
    }
    last_schema = { uri, written_by }
  }
  const { written_by } = last_schema
  const cause_ids = valueAt(headers, at.ce_causationid)
  const causes = cause_ids === undefined ? NO_CAUSES : cause_ids.split(',')
  if (!areSorted(causes)) throw new PoisonError(`header ce_causationid: expected ids in ascending order, each once`)
  const id = valueAt(headers, at.ce_id)
  if (id === undefined || id === '' || id.includes(',')) return wrong('ce_id', 'a text without a comma', id)
  const source = textAt(headers, at, 'ce_source')
  const time = valueAt(headers, at.ce_time)
  if (time === undefined || !isTimestamp(time)) return wrong('ce_time', 'RFC 3339 in UTC with milliseconds', time)
  const key = textAt(headers, at, 'ce_partitionkey')
  const clock = valueAt(headers, at.ce_clock)
  if (clock !== 'virtual' && clock !== 'wall') return wrong('ce_clock', 'virtual or wall', clock)

  const envelope: Writable<RecordHeaders['envelope']> = { id, source, type, time, key, clock, causes }
  const correlation = valueAt(headers, at.ce_correlationid)
  if (correlation !== undefined) envelope.correlation = correlation
  const producer_version = valueAt(headers, at.ce_producerversion)
  if (producer_version !== undefined) envelope.producer_version = producer_version
  const model_hash = valueAt(headers, at.ce_modelhash)
  if (model_hash !== undefined) envelope.model_hash = model_hash
  const seed = valueAt(headers, at.ce_seed)
  if (seed !== undefined) envelope.seed = seed
  const rules = valueAt(headers, at.ce_schemarules)
  if (rules !== undefined && rules !== RULES.value && !/^[1-9]\d{0,8}$/.test(rules)) {
    return wrong('ce_schemarules', 'a whole number, 1 or more', rules)
  }
  const content_type = textAt(headers, at, 'content-type')
  return { envelope, written_by, content_type, obeys_rules: rules !== undefined }
}

const NO_CAUSES: readonly string[] = Object.freeze([])

function valueAt(headers: readonly Header[], at: number): string | undefined {
  return at < 0 ? undefined : headers[at]?.value
}

function textAt(headers: readonly Header[], at: Layout['at'], name: Attribute): string {
  const value = valueAt(headers, at[name])
  return value === undefined || value === '' ? wrong(name, 'a text that is not empty', value) : value
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }

function wrong(name: Attribute, expected: string, value: string | undefined): never {
  throw new PoisonError(`header ${name}: expected ${expected}, got ${value === undefined ? 'none' : shown(value)}`)
}

/**
 * The blobs that contain a record's large columns: fetch them, then decode.
 *
 * @throws PoisonError when the header is not a list of blob references
 */
export function offloadedBlobs({ headers }: { readonly headers: readonly Header[] }): BlobRef[] {
  const value = headers.find(({ name }) => name === BLOBS)?.value
  if (value === undefined) return []
  const refs = parsedJson(value)
  if (!Array.isArray(refs) || !refs.every((ref) => blobCheck.safeParse(ref).success)) {
    throw new PoisonError(`header ${BLOBS}: expected a JSON array of blob references, got ${shown(value)}`)
  }
  return refs
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function areSorted(ids: readonly string[]): boolean {
  return ids.every((id, at) => id !== '' && !id.includes(',') && (at === 0 || (ids[at - 1] as string) < id))
}
