import { List } from 'apache-arrow'
import type { Logical } from '../declare/logical-types.ts'
import { flatten, readLists } from './arrow-columns.ts'
import { lengthText, maximumOf, outerAndInner } from './bounds.ts'
import type { PhysicalType } from './physical-type.ts'
import { listCheck } from './value-checks.ts'

type ListOf = Extract<Logical, { kind: 'list' }>

export const listType: PhysicalType<ListOf, unknown[]> = {
  zod: ({ item, max_length }, of) => listCheck(of(item), max_length),
  jsonSchema: ({ item, max_length }, of) => ({
    type: 'array',
    items: of(item),
    ...maximumOf('maxItems', max_length),
  }),
  toJson: ({ item }, of) => {
    const toJson = of(item)
    return (items: unknown[]) => items.map(toJson)
  },
  fromJson: ({ item }, of) => {
    const fromJson = of(item)
    return fromJson && ((json) => (Array.isArray(json) ? json.map(fromJson) : json))
  },
  arrow: ({ item }, of) => new List(of('item', item)),
  arrowMetadata: () => undefined,
  arrowWrite: ({ item }, of) => {
    const write = of(item)
    return (lists: readonly unknown[][]) => {
      const { offsets, items } = flatten(lists)
      return { offsets, children: [write(items)] }
    }
  },
  arrowRead: ({ item }, of) => {
    const read = of(item)
    return (data) => readLists(data, read)
  },
  blank: () => [],
  offloads: true,
  by_reference: false,
  duckdb: ({ item }, of) => `${of(item)}[]`,
  pyarrow: ({ item }, of) => `pa.list_(${of('item', item)})`,
  canonical: ({ item }, of) => {
    const write = of(item)
    return (bytes, items: unknown[]) => {
      bytes.uint32(items.length)
      for (const value of items) write(bytes, value)
    }
  },
  parts: ({ item }, items: unknown[]) => items.map((value, at) => ({ segment: `[${at}]`, field: item, value })),
  unbounded: ({ item }, of) => ({ kind: 'list', item: of(item) }),
  bounds: (list, of) => outerAndInner(lengthText(list, 'items'), of(list.item)),
  declared: ({ item }, of) => ({ kind: 'list', item: of(item) }),
}
