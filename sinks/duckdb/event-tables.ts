import { isDeepStrictEqual } from 'node:util'
import type { DuckDBConnection, DuckDBType } from '@duckdb/node-api'
import { valueTypes } from '../../schemas/declare/declared-value.ts'
import type { EventType } from '../../schemas/declare/event.ts'
import { upcastChangesValues } from '../../schemas/declare/upcast.ts'
import { type Column, type EventTable, tableOf } from '../../schemas/derive/duckdb-table.ts'
import { places, qualified, quoted } from '../../schemas/derive/sql-quoting.ts'
import { physical } from '../../schemas/wire/type-table.ts'

/** The table that an event type's rows are loaded into now. */
export interface LoadTarget {
  readonly type: EventType
  readonly schema: string
  readonly table: string
  /** In the table's own order, which differs from the declared one after a column was added. */
  readonly columns: readonly { readonly name: string; readonly type: DuckDBType }[]
  /** The table is being rebuilt next to the old one, which stays unchanged until `swapIn`. */
  readonly building: boolean
}

/**
 * The declaration that a table was made from, stored in `internal.meta` as `table:TYPE`, or `building:TYPE` before the
 * swap.
 */
interface MadeFrom {
  readonly version: number
  readonly columns: readonly Column[]
  /** Versions of the declared values that the rows hold, where a field holds any. */
  readonly values?: { readonly [name: string]: number }
}
type Change = 'none' | 'comments' | 'added_columns' | 'rebuild'

const BUILDING = '__building'

/**
 * Creates or alters the tables to match the declarations, in the caller's transaction. New nullable columns are added
 * if the rows already loaded are null there; any other change but of comments starts an empty table, loaded from the
 * beginning of its topic.
 */
export async function prepareTables(connection: DuckDBConnection, types: readonly EventType[]): Promise<LoadTarget[]> {
  // Read and written in one statement each: a statement takes milliseconds, however little it does.
  const recorded = await recordedIn(connection)
  const changed = new Map<string, MadeFrom>()
  const targets: LoadTarget[] = []
  for (const type of types) targets.push(await prepareTable(connection, type, recorded, changed))
  await record(connection, changed)
  return targets
}

/** @param changed receives the entries to write to `internal.meta` */
async function prepareTable(
  connection: DuckDBConnection,
  type: EventType,
  recorded: ReadonlyMap<string, MadeFrom>,
  changed: Map<string, MadeFrom>,
): Promise<LoadTarget> {
  const declared = tableOf(type)
  const wanted = wantedFor(type)
  const made = recorded.get(`table:${type.type}`)
  const building = recorded.get(`building:${type.type}`)
  const change = made === undefined ? 'comments' : differenceOf(type, made)
  const goesOn = change === 'rebuild' && building !== undefined && differenceOf(type, building) === 'none'
  if (building !== undefined && !goesOn) {
    await dropBuilding(connection, type, declared)
    await restart(connection, type)
  }
  switch (change) {
    case 'none':
      break
    case 'added_columns':
      for (const { name, type: sqlType } of addedColumns(made, wanted)) {
        await connection.run(
          `ALTER TABLE ${qualified(declared.schema, declared.table)} ADD COLUMN ${quoted(name)} ${sqlType}`,
        )
      }
      await connection.run(declared.ddl)
      changed.set(`table:${type.type}`, wanted)
      break
    case 'comments':
      await connection.run(declared.ddl)
      changed.set(`table:${type.type}`, wanted)
      break
    case 'rebuild':
      if (!goesOn) {
        await connection.run(besideOf(type).ddl)
        changed.set(`building:${type.type}`, wanted)
        await restart(connection, type)
      }
      return targetOf(connection, type, besideOf(type), true)
  }
  return targetOf(connection, type, declared, false)
}

/** Replaces the old table with the rebuilt one, in the caller's transaction. */
export async function swapIn(connection: DuckDBConnection, target: LoadTarget): Promise<LoadTarget> {
  const { type } = target
  const declared = tableOf(type)
  await connection.run(`DROP TABLE ${qualified(declared.schema, declared.table)}`)
  await connection.run(`ALTER TABLE ${qualified(target.schema, target.table)} RENAME TO ${quoted(declared.table)}`)
  await connection.run('DELETE FROM internal.meta WHERE name = $1', [`building:${type.type}`])
  await record(connection, new Map([[`table:${type.type}`, wantedFor(type)]]))
  return targetOf(connection, type, declared, false)
}

/** Whether a table's entry in `internal.meta` matches the declaration, comments aside. */
export function isMadeFor(type: EventType, text: string): boolean {
  const change = differenceOf(type, JSON.parse(text) as MadeFrom)
  return change === 'none' || change === 'comments'
}

function wantedFor(type: EventType): MadeFrom {
  const { version } = type
  const { columns } = tableOf(type)
  const holdsValues = Object.values(type.row).some(({ logical }) => physical(logical).upcast !== undefined)
  if (!holdsValues) return { version, columns }
  return { version, columns, values: Object.fromEntries(valueTypes().map((value) => [value.name, value.version])) }
}

const besideOf = (type: EventType): EventTable => tableOf({ ...type, type: `${type.type}${BUILDING}` })

async function dropBuilding(
  connection: DuckDBConnection,
  type: EventType,
  { schema, table }: EventTable,
): Promise<void> {
  await connection.run(`DROP TABLE IF EXISTS ${qualified(schema, table + BUILDING)}`)
  await connection.run('DELETE FROM internal.meta WHERE name = $1', [`building:${type.type}`])
}

/** Makes the loader read the topic from its beginning, into the current target. */
async function restart(connection: DuckDBConnection, type: EventType): Promise<void> {
  for (const table of ['positions', 'unreadable']) {
    await connection.run(`DELETE FROM internal.${table} WHERE topic = $1`, [type.type])
  }
}

function differenceOf(type: EventType, made: MadeFrom): Change {
  const wanted = wantedFor(type)
  if (upcastChangesValues(type, made.version)) return 'rebuild'
  const now = new Map(wanted.columns.map((column) => [column.name, column]))
  for (const before of made.columns) {
    const after = now.get(before.name)
    if (after === undefined || after.type !== before.type || after.nullable !== before.nullable) return 'rebuild'
  }
  const values = Object.entries(made.values ?? {})
  if (values.some(([name, version]) => (wanted.values?.[name] ?? version) !== version)) return 'rebuild'
  const added = addedColumns(made, wanted)
  if (added.some(({ nullable }) => !nullable)) return 'rebuild'
  if (added.length > 0) return 'added_columns'
  const abouts = new Map(made.columns.map(({ name, about }) => [name, about]))
  const same =
    made.version === wanted.version &&
    wanted.columns.every(({ name, about }) => abouts.get(name) === about) &&
    // A value that was declared since is recorded too, for the day when it has another version.
    isDeepStrictEqual(made.values, wanted.values)
  return same ? 'none' : 'comments'
}

function addedColumns(made: MadeFrom | undefined, wanted: MadeFrom): Column[] {
  const before = new Set(made?.columns.map(({ name }) => name))
  return wanted.columns.filter(({ name }) => !before.has(name))
}

async function recordedIn(connection: DuckDBConnection): Promise<Map<string, MadeFrom>> {
  const found = await connection.runAndReadAll(
    "SELECT name, value FROM internal.meta WHERE name LIKE 'table:%' OR name LIKE 'building:%'",
  )
  return new Map(found.getRows().map(([name, value]) => [name as string, JSON.parse(value as string) as MadeFrom]))
}

async function record(connection: DuckDBConnection, changed: ReadonlyMap<string, MadeFrom>): Promise<void> {
  if (changed.size === 0) return
  const rows = [...changed].map(([name, made]) => [name, JSON.stringify(made)])
  await connection.run(`INSERT OR REPLACE INTO internal.meta VALUES ${places(rows)}`, rows.flat())
}

async function targetOf(
  connection: DuckDBConnection,
  type: EventType,
  { schema, table }: { schema: string; table: string },
  building: boolean,
): Promise<LoadTarget> {
  const empty = await connection.run(`FROM ${qualified(schema, table)} LIMIT 0`)
  const types = empty.columnTypes()
  const columns = empty.columnNames().map((name, index) => ({ name, type: types[index] as DuckDBType }))
  return { type, schema, table, columns, building }
}
