import { FIELD_NAME } from '../declare/logical-types.ts'

export type RowMaker = (columns: readonly (readonly unknown[])[], count: number) => Record<string, unknown>[]

const makers = new Map<string, RowMaker>()

/**
 * Makes rows from columns. The code is generated for these names, so that every row is created with all its fields and
 * one shape: setting the fields one by one costs several times as much.
 *
 * @throws Error when a name is not snake_case: names become part of the generated code.
 */
export function rowMaker(names: readonly string[]): RowMaker {
  const joined = names.join(',')
  const known = makers.get(joined)
  if (known !== undefined) return known
  for (const name of names) if (!FIELD_NAME.test(name)) throw new Error(`field ${name}: expected snake_case`)
  const fields = names.map((name, column) => `${name}: columns[${column}][at]`)
  const makeRow = new Function('columns', 'at', `return { ${fields.join(', ')} }`)
  const maker: RowMaker = (columns, count) => {
    const rows = new Array(count)
    for (let at = 0; at < count; at++) rows[at] = makeRow(columns, at)
    return rows
  }
  makers.set(joined, maker)
  return maker
}
