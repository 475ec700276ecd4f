import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openDatabase } from './database.ts'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'database-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** Runs statements as the file's owner. @returns the rows of the last one */
async function owning(file: string, ...statements: readonly string[]): Promise<unknown[][]> {
  const database = await openDatabase({ file, access: 'owner' })
  const connection = await database.connect()
  try {
    let rows: unknown[][] = []
    for (const sql of statements) rows = (await connection.runAndReadAll(sql)).getRowsJson()
    return rows
  } finally {
    connection.disconnectSync()
    await database.close()
  }
}

const FORM = "SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = current_database()"

test('no row group is so large that rewriting it delays loading', async () => {
  const rows = await owning(
    join(folder, 'a.duckdb'),
    'CREATE TABLE a AS SELECT i FROM range(50_000) t(i)',
    'CHECKPOINT',
    `SELECT max(rows)::INTEGER, sum(rows)::INTEGER
       FROM (SELECT sum(count) AS rows FROM pragma_storage_info('a') WHERE segment_type = 'BIGINT' GROUP BY row_group_id)`,
  )
  expect(rows).toEqual([[16_384, 50_000]])
})

test('a file in an older storage format of DuckDB is opened as it is, and upgraded', async () => {
  const file = join(folder, 'a.duckdb')
  const before = await DuckDBInstance.create(file)
  const connection = await before.connect()
  await connection.run('CREATE TABLE a AS SELECT 42 AS i')
  const form = (await connection.runAndReadAll(FORM)).getRowsJson()
  connection.disconnectSync()
  before.closeSync()
  expect(form).not.toEqual([['v1.4.0+']])
  expect(await owning(file, FORM)).toEqual([['v1.4.0+']])
  expect(await owning(file, 'FROM a')).toEqual([[42]])
})

test('data that does not fit into memory is spilled next to the file', async () => {
  const file = join(folder, 'a.duckdb')
  expect(await owning(file, "SELECT current_setting('temp_directory')")).toEqual([[`${file}.tmp`]])
})

test.for(['memory', 'Temp', 'system'])(
  'a file with the name of one of DuckDB’s own databases is refused: %s',
  async (name) => {
    for (const access of ['owner', 'read_only'] as const) {
      await expect(openDatabase({ file: join(folder, `${name}.duckdb`), access })).rejects.toThrow(
        'name the file otherwise',
      )
    }
  },
)
