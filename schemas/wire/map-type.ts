import { Field as ArrowField, type DataType, Map_, Struct, Utf8 } from 'apache-arrow'
import type { Logical } from '../declare/logical-types.ts'
import { columnOf, flatten, readMaps, readTexts, writeTexts } from './arrow-columns.ts'
import { lengthText, maximumOf, outerAndInner } from './bounds.ts'
import type { PhysicalType } from './physical-type.ts'
import { mapCheck } from './value-checks.ts'

type MapOf = Extract<Logical, { kind: 'map' }>
type MapValue = Readonly<Record<string, unknown>>

/** Sorted by UTF-16 code units: the order that encodings and equality use. */
const sortedKeys = (map: object) => Object.keys(map).sort()

export const mapType: PhysicalType<MapOf, MapValue> = {
  zod: ({ value, max_length }, of) => mapCheck(of(value), max_length),
  jsonSchema: ({ value, max_length }, of) => ({
    type: 'object',
    additionalProperties: of(value),
    ...maximumOf('maxProperties', max_length),
  }),
  toJson: ({ value }, of) => {
    const toJson = of(value)
    return (map: MapValue) => Object.fromEntries(sortedKeys(map).map((key) => [key, toJson(map[key])]))
  },
  fromJson: ({ value }, of) => {
    const fromJson = of(value)
    return (
      fromJson &&
      ((json) =>
        typeof json === 'object' && json !== null && !Array.isArray(json)
          ? Object.fromEntries(Object.entries(json).map(([key, inner]) => [key, fromJson(inner)]))
          : json)
    )
  },
  arrow: ({ value }, of) => {
    const entries = new Struct<{ key: Utf8; value: DataType }>([
      new ArrowField('key', new Utf8(), false),
      of('value', value),
    ])
    return new Map_(new ArrowField('entries', entries, false), true)
  },
  arrowMetadata: () => undefined,
  arrowWrite: ({ value }, of, type) => {
    const write = of(value)
    const entriesType = type.children[0]?.type as Struct
    const keysType = entriesType.children[0]?.type as Utf8
    return (maps: readonly MapValue[]) => {
      const { offsets, items: keys } = flatten(maps.map(sortedKeys))
      const values = maps.flatMap((map) => sortedKeys(map).map((key) => map[key]))
      const children = [columnOf(keysType, keys.length, writeTexts(keys as string[])), write(values)]
      return { offsets, children: [columnOf(entriesType, keys.length, { children })] }
    }
  },
  arrowRead: ({ value }, of) => {
    const read = of(value)
    return (data) => readMaps(data, readTexts, read)
  },
  blank: () => ({}),
  offloads: false,
  by_reference: false,
  duckdb: ({ value }, of) => `MAP(VARCHAR, ${of(value)})`,
  pyarrow: ({ value }, of) => `pa.map_(pa.utf8(), ${of('value', value)}, keys_sorted=True)`,
  canonical: ({ value }, of) => {
    const write = of(value)
    return (bytes, map: MapValue) => {
      const keys = sortedKeys(map)
      bytes.uint32(keys.length)
      for (const key of keys) {
        bytes.utf8(key)
        write(bytes, map[key])
      }
    }
  },
  parts: ({ value: field }, map: MapValue) =>
    sortedKeys(map).map((key) => ({ segment: `.${key}`, field, value: map[key] })),
  unbounded: ({ value }, of) => ({ kind: 'map', value: of(value) }),
  bounds: (map, of) => outerAndInner(lengthText(map, 'entries'), of(map.value)),
  declared: ({ value }, of) => ({ kind: 'map', value: of(value) }),
}
