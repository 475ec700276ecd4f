import { createHash } from 'node:crypto'
import type { Event, EventType } from '../declare/event.ts'
import { rowsOf } from '../declare/event.ts'
import { shown } from '../declare/event-errors.ts'
import type { Field, Fields } from '../declare/logical-types.ts'
import { list, nullable, struct, utf8 } from '../declare/logical-types.ts'
import { CanonicalBytes } from './canonical-bytes.ts'
import type { WriteCanonical } from './physical-type.ts'
import { physical } from './type-table.ts'

/**
 * Equality of events, for `verify`: by logical values, after upcasting. It ignores `producer_version` (the code may
 * change, its results may not), `version` and the encoding. −0 equals 0, maps are equal in any order, tensors when
 * their elements are. Blobs and images are compared by reference: comparing pixels would mean reading both images.
 */

/** An absent optional attribute is compared as null. */
const envelopeFields: Fields = {
  id: utf8(),
  source: utf8(),
  type: utf8(),
  time: utf8(),
  key: utf8(),
  clock: utf8(),
  causes: list(utf8()),
  correlation: nullable(utf8()),
  model_hash: nullable(utf8()),
  seed: nullable(utf8()),
}

const envelopeOf = (event: Event) => {
  const { correlation = null, model_hash = null, seed = null } = event
  return { ...event, correlation, model_hash, seed }
}

const rowField = (row: Fields): Field => struct(row)

/** `canonical`: images by reference. `alike`: images by the size and pixel hash in their references. */
type Equality = 'canonical' | 'alike'
const writers: Record<Equality, WeakMap<Fields, WriteCanonical>> = { canonical: new WeakMap(), alike: new WeakMap() }

/** SHA-256 over the logical values, little-endian, each text and list preceded by its length. */
export function canonicalHash(type: EventType, event: Event): string {
  return hashBy('canonical', type, event)
}

/** Whether two events differ at most in how their images are encoded, judged by their references. */
export function looksAlike(type: EventType, one: Event, other: Event): boolean {
  return hashBy('alike', type, one) === hashBy('alike', type, other)
}

function hashBy(equality: Equality, type: EventType, event: Event): string {
  const bytes = new CanonicalBytes()
  rowWriter(envelopeFields, equality)(bytes, envelopeOf(event))
  const rows = rowsOf(event)
  const write = rowWriter(type.row, equality)
  bytes.uint32(rows.length)
  for (const row of rows) write(bytes, row)
  return createHash('sha256').update(bytes.bytes()).digest('hex')
}

export interface ValueDifference {
  /** Where the two differ: `row 3 field placed.x`, `field metrics.loss`, `time`. */
  readonly path: string
  /** The two values, formatted for a message. */
  readonly expected: string
  readonly actual: string
}

/**
 * The first place where two events of one type differ, in the declared order of fields; undefined when their
 * `canonicalHash` is equal. Both must be valid.
 */
export function firstDifference(type: EventType, expected: Event, actual: Event): ValueDifference | undefined {
  const envelope = differenceAt('', rowField(envelopeFields), envelopeOf(expected), envelopeOf(actual))
  if (envelope !== undefined) return { ...envelope, path: envelope.path.slice(1) }
  const [ours, theirs] = [rowsOf(expected), rowsOf(actual)]
  for (let at = 0; at < Math.min(ours.length, theirs.length); at++) {
    const difference = differenceAt('', rowField(type.row), ours[at], theirs[at])
    if (difference === undefined) continue
    const place = type.encoding === 'arrow' ? `row ${at} field ` : 'field '
    return { ...difference, path: place + difference.path.slice(1) }
  }
  if (ours.length === theirs.length) return undefined
  return { path: 'rows', expected: String(ours.length), actual: String(theirs.length) }
}

function differenceAt(path: string, field: Field, expected: unknown, actual: unknown): ValueDifference | undefined {
  if (areEqual(field, expected, actual)) return undefined
  const { logical } = field
  const isNull = expected === null || actual === null
  const ours = isNull ? undefined : physical(logical).parts(logical, expected)
  const theirs = isNull ? undefined : physical(logical).parts(logical, actual)
  if (ours === undefined || theirs === undefined) return { path, ...shownApart(expected, actual) }
  const counterparts = new Map(theirs.map((part) => [part.segment, part]))
  for (const part of ours) {
    const other = counterparts.get(part.segment)
    if (other === undefined) return { path: path + part.segment, expected: shown(part.value), actual: 'nothing' }
    const difference = differenceAt(path + part.segment, part.field, part.value, other.value)
    if (difference !== undefined) return difference
    counterparts.delete(part.segment)
  }
  const [extra] = counterparts.values()
  if (extra === undefined) return { path, ...shownApart(expected, actual) }
  return { path: path + extra.segment, expected: 'nothing', actual: shown(extra.value) }
}

function areEqual(field: Field, expected: unknown, actual: unknown): boolean {
  const [ours, theirs] = [new CanonicalBytes(), new CanonicalBytes()]
  const write = fieldWriter(field, 'canonical')
  write(ours, expected)
  write(theirs, actual)
  return Buffer.compare(ours.bytes(), theirs.bytes()) === 0
}

const CONTEXT = 20

/** Two long texts may have a common beginning: show them from just before the first difference. */
function shownApart(expected: unknown, actual: unknown): { expected: string; actual: string } {
  if (typeof expected !== 'string' || typeof actual !== 'string') {
    return { expected: shown(expected), actual: shown(actual) }
  }
  let at = 0
  while (at < expected.length && expected[at] === actual[at]) at++
  const from = Math.max(0, at - CONTEXT)
  const excerpt = (text: string) => shown(from === 0 ? text : `…${text.slice(from)}`)
  return { expected: excerpt(expected), actual: excerpt(actual) }
}

function rowWriter(row: Fields, equality: Equality): WriteCanonical {
  const known = writers[equality].get(row)
  if (known !== undefined) return known
  const write = fieldWriter(rowField(row), equality)
  writers[equality].set(row, write)
  return write
}

function fieldWriter({ logical, nullable: isNullable }: Field, equality: Equality): WriteCanonical {
  const type = physical(logical)
  const of = (field: Field) => fieldWriter(field, equality)
  const write = (equality === 'alike' ? type.alike?.(logical, of) : undefined) ?? type.canonical(logical, of)
  if (!isNullable) return write
  return (bytes, value) => {
    bytes.uint8(value === null ? 0 : 1)
    if (value !== null) write(bytes, value)
  }
}
