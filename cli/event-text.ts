import { textColumns } from '../pipeline/text/text-table.ts'
import { valueTypes } from '../schemas/declare/declared-value.ts'
import type { EventType } from '../schemas/declare/event.ts'
import type { Field, Fields, Logical } from '../schemas/declare/logical-types.ts'
import { fingerprintOf } from '../schemas/wire/fingerprint.ts'
import { physical } from '../schemas/wire/type-table.ts'

/** The catalogue, a line for each event. */
export function catalogueText(catalogue: readonly EventType[]): string {
  const rows = catalogue.map(({ type, version, key, encoding, about }) => {
    return [type, `v${version}`, encoding, `[${key}]  ${about}`]
  })
  return textColumns(rows)
    .map((line) => `${line}\n`)
    .join('')
}

/** One event with every field: name, type (a trailing ? where it may be null), bounds, meaning. */
export function eventText(type: EventType): string {
  const lines = textColumns(rowsOf(type.row, '  '), { widest: 48 })
  const { encoding, key, retention } = type
  const what = encoding === 'json' ? 'a fact, JSON' : 'a batch of rows, Arrow'
  const rows = type.row_key.length === 0 ? '' : `; rows differ in ${type.row_key.join(', ')}`
  const head = `${type.type} v${type.version}: ${what}; key ${key}${rows}; ${retention}; fingerprint ${fingerprintOf(type).slice(0, 16)}`
  return [head, type.about, '', ...lines, ''].join('\n')
}

function rowsOf(fields: Fields, indent: string): string[][] {
  return Object.entries(fields).flatMap(([name, field]) => {
    const row = [`${indent}${name}`, kindOf(field), ownBoundsOf(field) ?? '', field.about]
    if (field.logical.kind === 'declared') return [row, ...declarationRows(`${indent}  `)]
    const inner = structOf(field)
    return inner === undefined ? [row] : [row, ...rowsOf(inner, `${indent}  `)]
  })
}

/** What such a field can hold: each declaration, with its fields. */
const declarationRows = (indent: string) =>
  valueTypes().flatMap(({ name, version, about, fields }) => [
    [`${indent}${name} v${version}`, 'value', '', about],
    ...rowsOf(fields, `${indent}  `),
  ])

const kindOf = (field: Field) => `${KIND[field.logical.kind](field.logical as never)}${field.nullable ? '?' : ''}`

/** Without the bounds of a struct's fields, which have their own lines. */
function ownBoundsOf({ logical }: Field): string | undefined {
  return logical.kind === 'struct' ? undefined : physical(logical).bounds(logical, ownBoundsOf)
}

/** How each logical type is written for people. */
const KIND: { [K in Logical['kind']]: (logical: Extract<Logical, { kind: K }>) => string } = {
  bool: () => 'bool',
  int32: () => 'int32',
  int64: () => 'int64',
  float32: () => 'float32',
  float64: () => 'float64',
  utf8: () => 'utf8',
  timestamp: () => 'timestamp',
  one_of: ({ values }) => values.join(' | '),
  blob: () => 'blob reference',
  image: () => 'image reference',
  list: ({ item }) => `list of ${kindOf(item)}`,
  map: ({ value }) => `map of ${kindOf(value)}`,
  struct: () => 'struct',
  declared: () => 'declared value',
  tensor: ({ dtype, shape }) => `tensor ${dtype} [${shape.join(', ')}]`,
}

/** The fields inside a struct, or inside a list of structs. */
function structOf({ logical }: Field): Fields | undefined {
  if (logical.kind === 'struct') return logical.fields
  return logical.kind === 'list' ? structOf(logical.item) : undefined
}
