import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { memoryLog } from '../../infra/log/memory/memory-log.ts'
import { endsOf } from '../../infra/runtime/watch/lag-report.ts'
import { offsetsAt } from '../../infra/runtime/watch/offsets-at.ts'
import { catalogue, views } from '../../streams/vocabulary.ts'
import { append, createTopics } from '../../testing/duckdb/recorded-tower.ts'
import { sqlRows } from '../../testing/sql-rows.ts'
import type { AsOf } from './as-of.ts'
import { openDatabase } from './database.ts'
import { type DuckDbSink, openDuckDbSink } from './duckdb-sink.ts'
import { SqlRefusedError } from './sql-errors.ts'
import type { Plain } from './sql-result.ts'

const folder = mkdtempSync(join(tmpdir(), 'as-of-'))
const owned = join(folder, 'owned.duckdb')
const left = join(folder, 'left.duckdb')
const log = memoryLog()
const QUESTIONS = [
  'SELECT count(*), sum(reward) FROM rewards',
  'SELECT * FROM groups ORDER BY ALL',
  'SELECT * FROM advantages ORDER BY ALL',
  'SELECT count(*) FROM policy.completions_sampled',
  'SELECT sampled, with_a_fate, lost, holds FROM funnel_check',
  'SELECT * FROM internal.dead_letters',
]
interface Moment {
  readonly ends: AsOf
  readonly time_ms: number
  /** Answers of a live session at that time. */
  readonly answers: Plain[][][]
}
const moments: Moment[] = []
let sink: DuckDbSink

const ask = (file: string, sql: string, as_of?: AsOf) =>
  sqlRows({ file, time_limit_ms: 20_000, ...(as_of === undefined ? {} : { as_of }) }, sql)

beforeAll(async () => {
  await createTopics(log)
  // Another program's topic on the same broker: in no moment, since it has no table.
  await log.createTopics([{ name: 'orders', partitions: 1 }])
  sink = await openDuckDbSink({ file: owned, log, catalogue, views })
  const steps: Parameters<typeof append>[1][] = [
    (story) => story.requested('g1', 2).sampled('g1', [0, 1]),
    (story) => story.scored('g1', [20, -5]).formed('g1', [20, -5]),
    (story) => story.requested('g2', 2).sampled('g2', [0, 1]).scored('g2', [3, 4]),
    (story) => story.formed('g2', [3, 4]).sampled('g3', [0]),
  ]
  for (const step of steps) {
    await append(log, step)
    await sink.loadOnce()
    const answers: Plain[][][] = []
    for (const sql of QUESTIONS) answers.push(await ask(owned, sql))
    moments.push({ ends: await endsOf(log, catalogue), time_ms: Date.now(), answers })
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const once = await openDuckDbSink({ file: left, log, catalogue, views, serve: false })
  await once.loadOnce()
  await once.close()
})
afterAll(async () => {
  await sink.close()
  rmSync(folder, { recursive: true, force: true })
})

describe.each([
  ['the owner', owned],
  ['the file', left],
])('queried through %s', (_via, file) => {
  test('every query gives the answer that it gave at that time', async () => {
    for (const { ends, answers } of moments) {
      for (const [at, sql] of QUESTIONS.entries()) expect(await ask(file, sql, ends), sql).toEqual(answers[at])
    }
    expect(await ask(file, 'SELECT count(*) FROM rewards', {})).toEqual([['0']])
  })

  test('current answers are not affected, and no database is left behind', async () => {
    expect(await ask(file, QUESTIONS[0] as string)).toEqual(moments.at(-1)?.answers[0])
    const databases = "SELECT database_name FROM duckdb_databases() WHERE database_name LIKE 'as_of%'"
    await expect.poll(() => ask(file, databases), { timeout: 20_000 }).toEqual([])
  })

  test.each([
    'CREATE TABLE x (i INT)',
    'CREATE VIEW main.x AS SELECT 1',
    'DROP VIEW rewards',
    "FROM read_text('/etc/passwd')",
    "COPY (SELECT 1) TO '/tmp/as-of.csv'",
    "ATTACH ':memory:' AS other",
    'USE internal',
    'SET threads = 1',
    'SELECT 1; SELECT 2',
    "FROM query('SELECT 1')",
    'FROM enable_logging()',
  ])('refuses %s as it does without --as-of', async (sql) => {
    await expect(ask(file, sql, moments[1]?.ends)).rejects.toThrow(SqlRefusedError)
  })

  test('views are no more writable than tables', async () => {
    await expect(ask(file, 'INSERT INTO internal.meta VALUES (1, 1)', moments[1]?.ends)).rejects.toThrow()
  })

  test('offsets that are not loaded yet are refused, and offsets are numbers', async () => {
    const ends = { 'policy.completions_sampled': [1_000, 0, 0, 0] }
    await expect(ask(file, 'FROM rewards', ends)).rejects.toThrow(/is loaded up to offset \d+/)
    const evil = { 'policy.completions_sampled': ['0) OR true --'] } as unknown as AsOf
    await expect(ask(file, 'FROM rewards', evil)).rejects.toThrow(SqlRefusedError)
  })

  test('an unknown topic is refused with the list of known ones, and the tables do not change', async () => {
    const misspelt = { ...moments.at(-1)?.ends, 'policy.completion_sampled': [1, 0, 0, 0] }
    await expect(ask(file, 'FROM rewards', misspelt)).rejects.toThrow(
      /no topic is called policy\.completion_sampled; there are .*policy\.completions_sampled, .*dead_letters; .*lag --json/,
    )
    for (const topic of ["x' OR '1'='1", '_snapshots', 'internal.state']) {
      await expect(ask(file, 'FROM rewards', { [topic]: [0] })).rejects.toThrow(SqlRefusedError)
    }
    expect(await ask(file, QUESTIONS[0] as string, moments.at(-1)?.ends)).toEqual(moments.at(-1)?.answers[0])
  })

  test('dead letters that are not loaded yet are refused', async () => {
    await expect(ask(file, 'FROM internal.dead_letters', { dead_letters: [9] })).rejects.toThrow(/is loaded up to/)
  })
})

test('a time stands for the ends of the log at that time', async () => {
  for (const { time_ms, answers } of moments) {
    const ends = await offsetsAt(log, catalogue, time_ms)
    for (const [at, sql] of QUESTIONS.entries()) expect(await ask(owned, sql, ends), sql).toEqual(answers[at])
  }
  const none = Object.values(await offsetsAt(log, catalogue, 0)).flat()
  expect(none.every((end) => end === 0)).toBe(true)
})

test('a file whose views an earlier release made asks for a run, which rebuilds them', async () => {
  const file = join(folder, 'earlier.duckdb')
  const open = () => openDuckDbSink({ file, log, catalogue, views, serve: false })
  const before = await open()
  await before.loadOnce()
  await before.close()
  const database = await openDatabase({ file, access: 'owner' })
  const connection = await database.connect()
  await connection.run(`
    DROP TABLE internal.views;
    UPDATE internal.meta SET value = 'of an earlier release' WHERE name = 'views'`)
  connection.disconnectSync()
  await database.close()
  const ends = moments[0]?.ends ?? {}
  await expect(ask(file, QUESTIONS[0] as string, ends)).rejects.toThrow(/run --until-idle$/)
  await (await open()).close()
  expect(await ask(file, QUESTIONS[0] as string, ends)).toEqual(moments[0]?.answers[0])
})
