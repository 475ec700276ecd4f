import type { DuckDBType } from '@duckdb/node-api'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { qualified, quoted } from '../../schemas/derive/sql-quoting.ts'
import { ChangedTables } from './changed-tables.ts'
import { RecordedFolder } from './recorded-folder.ts'
import { changesOf } from './value-changes.ts'

let recorded: RecordedFolder
let tables: ChangedTables
beforeAll(async () => {
  recorded = await RecordedFolder.make()
  tables = await ChangedTables.open(recorded)
}, 60_000)
afterAll(async () => {
  await tables?.close()
  await recorded?.remove()
})

/** Changing one of these columns would move the row to the place of another record. */
const PLACE = ['ce_id', 'row', 'log_partition', 'log_offset']
/** A report names this many findings; the others are only counted. */
const MOST_NAMED = 20

test('the smallest change of one value is a difference that names its column, whatever its type', {
  timeout: 240_000,
}, async () => {
  let changed = 0
  for (const { type } of recorded.wiring.events) {
    const name = qualified(...(type.split('.') as [string, string]))
    await tables.run(`CREATE OR REPLACE TEMP TABLE before AS FROM ${name}`)
    const events = (await tables.connection.runAndReadAll(`SELECT DISTINCT ce_id FROM ${name} ORDER BY ALL`)).getRows()
    const changes = await changesOfTable(name)
    const at_once = Math.min(MOST_NAMED, events.length)
    for (let at = 0; at < changes.length && at_once > 0; at += at_once) {
      const some = changes.slice(at, at + at_once)
      for (const [event, { column, value }] of some.entries())
        await tables.run(`
          UPDATE ${name} SET ${quoted(column)} = ${value}
          WHERE ce_id = '${events[event]?.[0]}' AND "row" = 0`)
      // The rows of the view `rewards` that follow from the changed value differ as well.
      const found = (await tables.verify([type])).found.filter(({ where }) => !where.startsWith('group '))
      const named = found.map(({ message }) => / row 0 column (\w+): /.exec(message)?.[1])
      expect({ type, named: named.sort() }).toEqual({ type, named: some.map(({ column }) => column).sort() })
      changed += some.length
      await tables.run(`DELETE FROM ${name}`, `INSERT INTO ${name} FROM before`)
    }
  }
  expect(changed).toBeGreaterThan(150)
  expect(await tables.verify()).toMatchObject({ differences: 0 })
})

interface Change {
  readonly column: string
  readonly value: string
}

/** The changes of each column, by its type. */
async function changesOfTable(name: string): Promise<Change[]> {
  const empty = await tables.connection.run(`FROM ${name} LIMIT 0`)
  const types = empty.columnTypes()
  return empty.columnNames().flatMap((column, at) => {
    if (PLACE.includes(column)) return []
    const type = types[at] as DuckDBType
    return changesOf(type, quoted(column)).map((value) => ({ column, value }))
  })
}
