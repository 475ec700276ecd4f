import type { ClockDomain, Envelope, Event, EventType } from './event.ts'
import { InvalidEventError, PoisonError, shown } from './event-errors.ts'
import { dataSchemaUri, parseDataSchemaUri } from './fingerprint.ts'
import type { BlobRef } from './logical-types.ts'
import { ARROW_STREAM } from './offload.ts'
import { blobCheck, isTimestamp } from './value-checks.ts'

/** One record header; the log port's own has the same shape. */
export interface Header {
  readonly name: string
  readonly value: string
}

/** CloudEvents 1.0, Kafka protocol binding, binary mode: attributes are headers `ce_…`, the value is the data. */
export const CONTENT_TYPES = { json: 'application/json', arrow: ARROW_STREAM } as const

/** Not CloudEvents': which blobs a reader must fetch before it can decode the value. */
const BLOBS = 'plumbline_blobs'

/** What the headers of a record say; the data has yet to be read. */
export interface RecordHeaders {
  /** Less `version`, which is the one that the data will have after upcasting. */
  readonly envelope: Omit<Envelope, 'version'>
  /** What the data was written by. */
  readonly written_by: { readonly type: string; readonly version: number; readonly fingerprint: string }
  readonly content_type: string
}

/** @throws InvalidEventError when an attribute cannot be written so that it is read back the same. */
export function headersOf(type: EventType, event: Event, blobs: readonly BlobRef[] = []): Header[] {
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
  if (event.causes.length > 0) add('ce_causationid', event.causes.join(','))
  add('ce_correlationid', event.correlation)
  add('ce_producerversion', event.producer_version)
  add('ce_modelhash', event.model_hash)
  add('ce_seed', event.seed)
  if (blobs.length > 0) add(BLOBS, JSON.stringify(blobs))
  for (const { name, value } of headers) if (!value.isWellFormed()) fail(name, 'whole Unicode characters', value)
  return headers
}

/** @throws PoisonError naming the header that is missing, doubled or wrong. */
export function parseHeaders(headers: readonly Header[]): RecordHeaders {
  const values = new Map<string, string>()
  for (const { name, value } of headers) {
    if (values.has(name)) throw new PoisonError(`header ${name}: expected it once, got it twice`)
    values.set(name, value)
  }
  const required = (name: string, expected = 'a text that is not empty', isRight = (value: string) => value !== '') => {
    const value = values.get(name)
    if (value !== undefined && isRight(value)) return value
    throw new PoisonError(`header ${name}: expected ${expected}, got ${value === undefined ? 'none' : shown(value)}`)
  }
  const optional = <K extends string>(key: K, name: string) => {
    const value = values.get(name)
    return (value === undefined ? {} : { [key]: value }) as { readonly [P in K]?: string }
  }

  required('ce_specversion', '1.0', (value) => value === '1.0')
  const type = required('ce_type')
  const expected = `plumbline:${type}/VERSION/FINGERPRINT`
  const schema = required('ce_dataschema', expected, (value) => parseDataSchemaUri(value)?.type === type)
  const causes = values.get('ce_causationid')?.split(',') ?? []
  if (!areSorted(causes)) throw new PoisonError(`header ce_causationid: expected ids in ascending order, each once`)
  return {
    envelope: {
      id: required('ce_id', 'a text without a comma', (value) => value !== '' && !value.includes(',')),
      source: required('ce_source'),
      type,
      time: required('ce_time', 'RFC 3339 in UTC with milliseconds', isTimestamp),
      key: required('ce_partitionkey'),
      clock: required('ce_clock', 'virtual or wall', (value) => value === 'virtual' || value === 'wall') as ClockDomain,
      causes,
      ...optional('correlation', 'ce_correlationid'),
      ...optional('producer_version', 'ce_producerversion'),
      ...optional('model_hash', 'ce_modelhash'),
      ...optional('seed', 'ce_seed'),
    },
    written_by: parseDataSchemaUri(schema) as RecordHeaders['written_by'],
    content_type: required('content-type'),
  }
}

/**
 * The blobs that hold a record's large columns: fetch them, then decode.
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
