import { shown } from './event-errors.ts'

type Row = Readonly<Record<string, unknown>>

/** Describes the first row that repeats an earlier row's key; undefined if every key is unique. */
export function repeatedRow(rows: readonly Row[], row_key: readonly string[]): string | undefined {
  if (row_key.length === 0 || isAscending(rows, row_key)) return undefined
  const seen = new Map<string, number>()
  for (const [at, row] of rows.entries()) {
    const key = JSON.stringify(row_key.map((name) => row[name]))
    const first = seen.get(key)
    if (first !== undefined) {
      const values = row_key.map((name) => `${name} ${shown(row[name])}`).join(', ')
      return `row ${at} ${values}: expected each ${row_key.join(', ')} once in an event, row ${first} has it too`
    }
    seen.set(key, at)
  }
  return undefined
}

/** Fast path: rows are nearly always sorted by their key's last field, so no set of seen keys is needed. */
function isAscending(rows: readonly Row[], row_key: readonly string[]): boolean {
  const last = row_key.at(-1) as string
  for (let at = 1; at < rows.length; at++) {
    const [before, row] = [rows[at - 1] as Row, rows[at] as Row]
    if (!((before[last] as number) < (row[last] as number))) return false
  }
  // Strictly ascending in one field means unique, for any values of the other fields.
  return true
}
