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

test('no group of rows is so large that writing it once more holds up the loading', async () => {
  const rows = await owning(
    join(folder, 'a.duckdb'),
    'CREATE TABLE a AS SELECT i FROM range(50_000) t(i)',
    'CHECKPOINT',
    `SELECT max(rows)::INTEGER, sum(rows)::INTEGER
       FROM (SELECT sum(count) AS rows FROM pragma_storage_info('a') WHERE segment_type = 'BIGINT' GROUP BY row_group_id)`,
  )
  expect(rows).toEqual([[16_384, 50_000]])
})

test('a file of an older form of DuckDB is taken up as it is, and brought into the newer one', async () => {
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

test('what does not fit into memory goes beside the file', async () => {
  const file = join(folder, 'a.duckdb')
  expect(await owning(file, "SELECT current_setting('temp_directory')")).toEqual([[`${file}.tmp`]])
})

test.for(['memory', 'Temp', 'system'])(
  'a file named as a database that DuckDB has of its own is refused: %s',
  async (name) => {
    for (const access of ['owner', 'read_only'] as const) {
      await expect(openDatabase({ file: join(folder, `${name}.duckdb`), access })).rejects.toThrow(
        'name the file otherwise',
      )
    }
  },
)
