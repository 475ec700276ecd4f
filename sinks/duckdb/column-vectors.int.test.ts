import {
  DuckDBDataChunk,
  DuckDBInstance,
  type DuckDBType,
  type DuckDBValue,
  INTEGER,
  LIST,
  listValue,
  VARCHAR,
} from '@duckdb/node-api'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { setColumn } from './column-vectors.ts'

async function throughTable(types: readonly DuckDBType[], columns: readonly DuckDBValue[][]) {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  await connection.run(`CREATE TABLE t (${types.map((type, index) => `c${index} ${type}`).join(', ')})`)
  const appender = await connection.createAppender('t')
  const rows = columns[0]?.length ?? 0
  for (let from = 0; from < rows; from += 2048) {
    const part = Math.min(2048, rows - from)
    const chunk = DuckDBDataChunk.create(types, part)
    columns.forEach((values, at) => {
      setColumn(chunk, at, types[at] as DuckDBType, values.slice(from, from + part))
    })
    appender.appendDataChunk(chunk)
  }
  appender.flushSync()
  appender.closeSync()
  const read = (await connection.runAndReadAll('FROM t')).getColumns()
  connection.disconnectSync()
  instance.closeSync()
  return read
}

/** Runs of equal values, as in the rows of events. */
const runsOf = <T>(value: fc.Arbitrary<T>) =>
  fc
    .array(fc.tuple(value, fc.integer({ min: 1, max: 40 })), { minLength: 1, maxLength: 200 })
    .map((runs) => runs.flatMap(([one, times]) => Array.from({ length: times }, () => one)))
const text = fc.string({ unit: 'grapheme', maxLength: 40 })
const list = fc.array(fc.option(text), { maxLength: 5 }).map((items) => listValue(items))

test('texts, lists of texts and numbers are read from the table as they were written, however they repeat', async () => {
  await fc.assert(
    fc.asyncProperty(runsOf(fc.option(text)), runsOf(fc.option(list)), async (texts, lists) => {
      const rows = Math.min(texts.length, lists.length)
      const columns = [
        texts.slice(0, rows),
        lists.slice(0, rows),
        Array.from({ length: rows }, (_, row) => (row % 3 === 0 ? null : row)),
      ]
      expect(await throughTable([VARCHAR, LIST(VARCHAR), INTEGER], columns)).toEqual(columns)
    }),
    { numRuns: 30 },
  )
})

test('more than one chunk of long texts that all repeat, and of nothing but NULL', async () => {
  const rows = 5_000
  const long = Array.from({ length: rows }, (_, row) => `${'x'.repeat(300)} ${row >> 4}`)
  const same = listValue(['a cause that is longer than twelve bytes', 'short', null])
  const columns = [long, long.map(() => null), long.map((_, row) => (row % 100 === 7 ? null : same))]
  expect(await throughTable([VARCHAR, VARCHAR, LIST(VARCHAR)], columns)).toEqual(columns)
})
