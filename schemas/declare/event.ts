import { FIELD_NAME, type Field, type Fields, kindIn, type LogicalKind, type RowOf } from './logical-types.ts'
import { expectConsecutive } from './upcast-steps.ts'

/**
 * How long an event must be retained (design §3): sources and recorded facts cannot be recomputed, ledgers prove
 * what happened, derived events can be rebuilt and may expire.
 */
export type Retention = 'source' | 'recorded' | 'ledger' | 'derived'

/**
 * `key`: murmur2 of the key's UTF-8 bytes modulo the partition count. `every_partition`: a broadcast, one copy in each,
 * under one id. Every task of a processor that reads it takes it up, each at its own place among its other inputs, which
 * its journal lists.
 */
export type Routing = 'key' | 'every_partition'

export interface EarlierVersion {
  readonly version: number
  readonly row: Fields
  /** Where it differs from that of the event. Its records stay where it put them. */
  readonly routing?: Routing
  /**
   * Turns one row of this version into a row of the next one. Pure. Absent: the values stay as they are, and fields that
   * the next version adds are null, so that tables loaded from this version need no rebuild.
   */
  readonly upcast?: (row: Record<string, unknown>) => Record<string, unknown>
}

export interface EventType<E extends 'json' | 'arrow' = 'json' | 'arrow', R extends Fields = Fields> {
  /** `family.past_tense`: the name of the topic, and of the schema and table in DuckDB. */
  readonly type: string
  readonly version: number
  /** The field whose value is the partition key; every row of a batch shares it. */
  readonly key: string
  /** `json`: a fact, one object. `arrow`: a batch, one Arrow IPC stream of rows that share the key. */
  readonly encoding: E
  readonly about: string
  readonly row: R
  /**
   * For a batch: the fields that identify a row within the event. Encoding and decoding both reject an event with a
   * repeated row key. Empty: rows may be equal. Not part of the fingerprint.
   */
  readonly row_key: readonly string[]
  readonly routing: Routing
  readonly retention: Retention
  /** Oldest first; each upcasts to the next, the last one to `version`. */
  readonly earlier: readonly EarlierVersion[]
}

type Declaration<E extends 'json' | 'arrow', R extends Fields> = Omit<
  EventType<E, R>,
  'key' | 'row_key' | 'routing' | 'earlier'
> & {
  readonly key: keyof R & string
  readonly row_key?: readonly string[]
  readonly routing?: Routing
  readonly earlier?: readonly EarlierVersion[]
}

export type DataOf<T extends EventType> =
  T extends EventType<infer E, infer R> ? (E extends 'json' ? RowOf<R> : RowOf<R>[]) : never
export type RowOfEvent<T extends EventType> = T extends EventType<'json' | 'arrow', infer R> ? RowOf<R> : never

/** The clock that stamps an event: the generator's own (`virtual`), or the host's at the edge (`wall`). */
export type ClockDomain = 'virtual' | 'wall'

/** CloudEvents 1.0 attributes; `headers.ts` maps each to a record header. */
export interface Envelope {
  readonly id: string
  readonly source: string
  readonly type: string
  /** The version that `data` has in memory, after upcasting. */
  readonly version: number
  /** RFC 3339 with milliseconds, UTC. */
  readonly time: string
  /** The partition key. */
  readonly key: string
  readonly clock: ClockDomain
  /** Ids of the events this one was derived from, sorted; empty for a source. */
  readonly causes: readonly string[]
  readonly correlation?: string
  readonly producer_version?: string
  readonly model_hash?: string
  readonly seed?: string
}

/** One event in memory: the envelope and its data (an object for a fact, rows for a batch). */
export interface Event<out T extends EventType = EventType> extends Envelope {
  readonly data: DataOf<T>
  /**
   * True if the record has no `ce_schemarules` header: an earlier release or a foreign producer wrote it. The data have
   * the declared types, but bounds and row keys were not checked. Absent in every other event.
   */
  readonly before_rules?: true
}

/** Types whose values `===` compares by content. */
const KEY_KINDS: readonly LogicalKind[] = ['int32', 'int64', 'utf8', 'one_of', 'timestamp', 'bool']

const TYPE_NAME = /^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$/

/**
 * Declares an event. Everything else (TypeScript type, validation, JSON Schema, Arrow schema, DuckDB table, Python
 * reader) follows from this one object.
 *
 * @throws Error when a name is not snake_case, the key is not a required utf8 field, a row key cannot tell rows apart,
 * versions are not consecutive, or one needs an upcaster.
 */
export function defineEvent<const E extends 'json' | 'arrow', const R extends Fields>(
  declared: Declaration<E, R>,
): EventType<E, R> {
  const fail = (problem: string): never => {
    throw new Error(`event ${declared.type} v${declared.version}: ${problem}`)
  }
  if (!TYPE_NAME.test(declared.type)) fail('expected a type named family.past_tense in snake_case')
  for (const name of Object.keys(declared.row)) {
    if (!FIELD_NAME.test(name)) fail(`field ${name}: expected snake_case`)
  }
  const key: Field | undefined = declared.row[declared.key]
  if (key === undefined || key.nullable || key.logical.kind !== 'utf8') {
    fail(`key ${declared.key}: expected a required utf8 field of the row`)
  }
  for (const [name, { logical }] of Object.entries(declared.row)) {
    if (logical.kind !== 'declared' && kindIn(logical, ['declared']) !== undefined) {
      fail(`field ${name}: expected a declared value in a field of the row itself, not inside of another`)
    }
  }
  const row_key = declared.row_key ?? []
  if (row_key.length > 0 && declared.encoding === 'json') fail('row_key: a fact has one row')
  for (const name of row_key) {
    const part: Field | undefined = declared.row[name]
    if (part === undefined || part.nullable || !KEY_KINDS.includes(part.logical.kind)) {
      fail(`row_key ${name}: expected a required field of the row, a ${KEY_KINDS.join(', ')}`)
    }
  }
  const earlier = declared.earlier ?? []
  expectConsecutive(earlier, declared.version, fail)
  earlier.forEach((step, index) => {
    if (step.upcast !== undefined) return
    const next: Fields = earlier[index + 1]?.row ?? declared.row
    for (const name of Object.keys(step.row)) {
      if (!(name in next)) fail(`earlier version ${step.version}: expected an upcaster, for ${name} is in it alone`)
    }
    for (const [name, { nullable }] of Object.entries(next)) {
      if (!nullable && !(name in step.row))
        fail(`earlier version ${step.version}: expected an upcaster, for it has no ${name}, which cannot be null`)
    }
  })
  return { ...declared, row_key, routing: declared.routing ?? 'key', earlier }
}

/** The rows of an event, whichever encoding it has. */
export function rowsOf(event: Event): Record<string, unknown>[] {
  const data: unknown = event.data
  return Array.isArray(data) ? data : [data as Record<string, unknown>]
}
