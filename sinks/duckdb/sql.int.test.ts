import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { tableFromIPC } from 'apache-arrow'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formatRows, type SqlFormat } from '../../cli/sql-format.ts'
import { memoryLog } from '../../infra/log/memory/memory-log.ts'
import { catalogue, views } from '../../streams/vocabulary.ts'
import { append, createTopics } from '../../testing/duckdb/recorded-tower.ts'
import { type DuckDbSink, openDuckDbSink } from './duckdb-sink.ts'
import { openSql, type SqlSession } from './sql-client.ts'
import { SqlFailedError, SqlRefusedError, SqlTimeoutError } from './sql-errors.ts'
import type { SqlResult } from './sql-result.ts'

const folder = mkdtempSync(join(tmpdir(), 'sql-'))
const file = join(folder, 'test.duckdb')
const outside = join(folder, 'outside.csv')
writeFileSync(outside, 'a\n1\n')
const log = memoryLog()
let sink: DuckDbSink
let owner: SqlSession
let reader: SqlSession

beforeAll(async () => {
  await createTopics(log)
  await append(log, (story) =>
    story.requested('g1', 2).sampled('g1', [0, 1]).scored('g1', [20, -5]).formed('g1', [20, -5]),
  )
  const another = join(folder, 'another.duckdb')
  const once = await openDuckDbSink({ file: another, log, catalogue, views })
  await once.loadOnce()
  await once.close()
  sink = await openDuckDbSink({ file, log, catalogue, views })
  await sink.loadOnce()
  owner = await openSql({ file, time_limit_ms: 20_000 })
  reader = await openSql({ file: another, time_limit_ms: 20_000 })
})
afterAll(async () => {
  await reader.close()
  await sink.close()
  rmSync(folder, { recursive: true, force: true })
})

async function drained({ batches }: SqlResult): Promise<void> {
  for await (const _ of batches);
}

async function text(session: SqlSession, sql: string, format: SqlFormat, limit?: number): Promise<string> {
  const parts: Buffer[] = []
  const options = limit === undefined ? {} : { limit }
  for await (const part of formatRows(await session.query(sql), format, options)) parts.push(Buffer.from(part))
  return Buffer.concat(parts).toString('utf8')
}

test('the owner answers while it runs, otherwise the file is read', () => {
  expect([owner.via, reader.via]).toEqual(['owner', 'file'])
})

test('a socket path that is too long is placed elsewhere, and found', async () => {
  const long = join(folder, 'x'.repeat(120), 'test.duckdb')
  const other = await openDuckDbSink({ file: long, log, catalogue, views })
  const socket = other.socket ?? ''
  expect(socket).not.toContain('xxx')
  expect(existsSync(socket)).toBe(true)
  const session = await openSql({ file: long })
  expect([session.via, await text(session, 'SELECT 1 AS one', 'csv')]).toEqual(['owner', 'one\r\n1\r\n'])
  await other.close()
  expect(existsSync(socket)).toBe(false)
})

test('without a file, the error names the remedy', async () => {
  await expect(openSql({ file: join(folder, 'none.duckdb') })).rejects.toThrow(/plumbline run/)
})

const REFUSED = [
  'CREATE TABLE x (i INT)',
  'CREATE TEMP TABLE x (i INT)',
  'INSERT INTO internal.meta VALUES (1, 1)',
  'UPDATE internal.meta SET value = 1',
  'DELETE FROM internal.meta',
  'DROP VIEW rewards',
  'ALTER TABLE internal.meta ADD COLUMN x INT',
  'EXPLAIN ANALYZE DELETE FROM internal.meta',
  'SELECT 1; SELECT 2',
  'SELECT 1; DROP VIEW rewards',
  '',
  '-- nothing',
  'SELECT ?',
  `FROM '${outside}'`,
  `FROM read_csv('${outside}')`,
  "FROM read_text('/etc/passwd')",
  "FROM glob('/*')",
  `COPY internal.meta TO '${folder}/out.csv'`,
  `COPY (SELECT 1) TO '${folder}/out.parquet'`,
  `EXPORT DATABASE '${folder}/export'`,
  `IMPORT DATABASE '${folder}/export'`,
  `ATTACH '${folder}/new.duckdb' AS other`,
  "ATTACH ':memory:' AS other",
  'INSTALL httpfs',
  'LOAD httpfs',
  'SET threads = 1',
  'RESET threads',
  'SET VARIABLE a = 1',
  'USE internal',
  'PRAGMA enable_profiling',
  'CHECKPOINT',
  'VACUUM',
  'BEGIN',
  'PREPARE p AS SELECT 1',
  'CALL pragma_version()',
  "FROM enable_logging('QueryLog', storage := 'file', storage_path := '/tmp/x')",
  'FROM enable_logging/* */()',
  'FROM "enable_logging"()',
  "FROM query('FROM enable_' || 'logging()')",
  'FROM U&"\\0065nable_logging"()',
  'FROM force_checkpoint()',
  'SELECT * FROM arrow_scan(1, 2, 3)',
  "SELECT write_log('x')",
  'CREATE SECRET (TYPE s3)',
]

describe.each([
  ['owner', () => owner],
  ['file', () => reader],
] as const)('queried through the %s', (_via, session) => {
  test.each(REFUSED)('refuses %s', async (sql) => {
    const answer = session().query(sql).then(drained)
    await expect(answer).rejects.toThrow(SqlRefusedError)
  })

  test('nothing was written, and it still answers', async () => {
    for (const name of ['out.csv', 'out.parquet', 'export', 'new.duckdb'])
      expect(existsSync(join(folder, name))).toBe(false)
    expect(await text(session(), 'SELECT count(*) AS n FROM rewards', 'csv')).toBe('n\r\n2\r\n')
  })

  test.each([
    'FROM rewards',
    'WITH a AS (SELECT 1 AS x) SELECT * FROM a;',
    'VALUES (1)',
    'DESCRIBE rewards',
    'SUMMARIZE rewards',
    'SHOW TABLES',
    'EXPLAIN FROM rewards',
    'EXPLAIN ANALYZE FROM rewards',
    "PIVOT rewards ON outcome IN ('stable') USING count(*)",
    "SELECT 'INSERT; -- not a comment' AS t",
  ])('answers %s', async (sql) => {
    expect(await text(session(), sql, 'json')).toMatch(/^\[\n/)
  })

  test('a statement that DuckDB cannot run fails with DuckDB’s message', async () => {
    await expect(session().query('SELEC 1')).rejects.toThrow(SqlFailedError)
    await expect(session().query('FROM no_such_table')).rejects.toThrow(/no_such_table/)
  })
})

test('every statement that the documents show is answered', async () => {
  const pages = readdirSync('docs', { recursive: true, encoding: 'utf8' }).map((name) => join('docs', name))
  const texts = ['README.md', ...pages.filter((name) => name.endsWith('.md'))].map((name) => readFileSync(name, 'utf8'))
  const statements = texts.flatMap((page) =>
    [...page.matchAll(/plumbline[^\n]* sql "([^"\n]+)"/g)].map(([, sql]) => sql),
  )
  expect(statements.length).toBeGreaterThan(20)
  for (const sql of new Set(statements)) await drained(await owner.query(String(sql)))
})

test('a statement that takes too long is interrupted, while others are answered', async () => {
  const hurried = await openSql({ file, time_limit_ms: 300 })
  const slow = hurried.query('SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b').then(drained)
  expect(await text(owner, 'SELECT 1 AS one', 'csv')).toBe('one\r\n1\r\n')
  await expect(slow).rejects.toThrow(SqlTimeoutError)
})

test('an answer of any size is streamed, and one that is left early stops', async () => {
  const result = await owner.query("SELECT range AS i, repeat('x', 100) AS pad FROM range(200000000)")
  let rows = 0
  for await (const batch of result.batches) {
    rows += batch.length
    if (rows > 100_000) break
  }
  expect(rows).toBeGreaterThan(100_000)
  expect(process.memoryUsage().rss / 2 ** 20).toBeLessThan(1500)
  const connections = 'SELECT count FROM duckdb_connection_count()'
  await expect.poll(() => text(owner, connections, 'csv'), { timeout: 5000 }).toBe('count\r\n2\r\n') // the sink's and this one
})

test('answers are consistent while rows arrive', async () => {
  const stop = new AbortController()
  const loading = sink.run(stop.signal)
  for (let index = 0; index < 10; index += 1) {
    await append(log, (story) => story.sampled(`more${index}`, [0, 1, 2, 3]))
    const [[whole]] = JSON.parse(
      await text(owner, 'SELECT count(*) % 4 = 2 AS whole FROM policy.completions_sampled', 'json'),
    ).map(Object.values)
    expect(whole).toBe(true)
  }
  stop.abort()
  await loading
})

describe('formats', () => {
  const SQL = `SELECT * FROM (VALUES
    (1, 0.1::DOUBLE, 'a', NULL), (20, -123.456789, 'x,"y"', ''), (300, 0, NULL, 'line
two')) AS t(i, f, s, n)`

  test('table: aligned, NULL shown, floats rounded alike', async () => {
    expect(await text(owner, SQL, 'table')).toBe(
      [
        '  i         f  s      n',
        '───  ────────  ─────  ────────',
        '  1     0.100  a      NULL',
        ' 20  -123.457  x,"y"',
        '300     0.000  NULL   line⏎two',
        '',
      ].join('\n'),
    )
    expect(await text(owner, 'FROM range(1000)', 'table', 2)).toBe('range\n─────\n    0\n    1\n… 998 more rows\n')
  })

  test('csv and json keep every digit', async () => {
    expect(await text(owner, SQL, 'csv')).toBe(
      'i,f,s,n\r\n1,0.1,a,\r\n20,-123.456789,"x,""y""",""\r\n300,0,,"line\ntwo"\r\n',
    )
    const json = await text(
      owner,
      "SELECT 9007199254740993::BIGINT AS big, 0.1 + 0.2::DOUBLE AS f, [1, NULL] AS l, {'a': 12345678901234567890123::HUGEINT} AS s, MAP {'k': 1.50::DECIMAL(5,2)} AS m, 'NaN'::DOUBLE AS nan",
      'json',
    )
    expect(json).toBe(
      '[\n{"big":9007199254740993,"f":0.30000000000000004,"l":[1,null],"s":{"a":12345678901234567890123},"m":{"k":1.50},"nan":"NaN"}\n]\n',
    )
  })

  test('infinite times are shown as such, in Arrow as DuckDB itself exports them', async () => {
    const sql = `SELECT 'infinity'::TIMESTAMP AS t, '-infinity'::TIMESTAMPTZ AS z, 'infinity'::TIMESTAMP_S AS s,
      '-infinity'::DATE AS d, DATE '2026-02-03' AS day`
    const json: string[] = []
    for await (const part of formatRows(await owner.query(sql), 'json')) json.push(String(part))
    expect(JSON.parse(json.join(''))).toEqual([
      { t: 'infinity', z: '-infinity', s: 'infinity', d: '-infinity', day: '2026-02-03' },
    ])
    const bytes: Uint8Array[] = []
    for await (const part of formatRows(await owner.query(sql), 'arrow')) bytes.push(part as Uint8Array)
    const [batch] = tableFromIPC(bytes).batches
    const values = batch?.data.children.map(({ values }) => values[0])
    const forever = 2n ** 63n - 1n
    expect(values).toEqual([forever, -forever, forever, -(2 ** 31 - 1), 20_487])
    const years =
      "SELECT DATE '0044-03-15 (BC)' AS d, TIMESTAMP '294247-01-10 04:00:54.775' AS t, TIMESTAMP '0001-01-01 (BC)' AS b"
    expect(await text(owner, years, 'json')).toBe(
      '[\n{"d":"0044-03-15 (BC)","t":"+294247-01-10T04:00:54.775Z","b":"0000-01-01T00:00:00.000Z"}\n]\n',
    )
  })

  test('arrow: a stream that Arrow reads, types and values kept', async () => {
    const bytes: Uint8Array[] = []
    const sql = `SELECT range::INTEGER AS i, range AS b, range::HUGEINT * -1 AS h, range / 4 AS f, 't' || range AS s,
      TIMESTAMPTZ '2026-01-31 12:00:00.5+00' AS t, [range, NULL] AS l, {'x': range, 'y': NULL::VARCHAR} AS st,
      MAP {'k': range} AS m, [1.5::FLOAT, 2]::FLOAT[2] AS a, 1.25::DECIMAL(9, 2) AS d, range % 2 = 0 AS bool, NULL::INTEGER AS n, DATE '2026-02-03' AS day
      FROM range(5000)`
    for await (const part of formatRows(await owner.query(sql), 'arrow')) bytes.push(part as Uint8Array)
    const table = tableFromIPC(bytes)
    expect(table.numRows).toBe(5000)
    expect(table.schema.fields.map(({ name, type }) => `${name} ${type}`)).toEqual([
      'i Int32',
      'b Int64',
      'h Decimal[38e0]',
      'f Float64',
      's Utf8',
      't Timestamp<MICROSECOND, UTC>',
      'l List<Int64>',
      'st Struct<{x:Int64, y:Utf8}>',
      'm Map<{key:Utf8, value:Int64}>',
      'a FixedSizeList[2]<Float32>',
      'd Decimal[9e+2]',
      'bool Bool',
      'n Int32',
      'day Date32<DAY>',
    ])
    const row = table.get(4001)?.toJSON() as Record<string, unknown>
    expect(row).toMatchObject({ i: 4001, b: 4001n, f: 1000.25, s: 't4001', bool: false, n: null })
    expect(row.t).toBe(Date.parse('2026-01-31T12:00:00.500Z'))
    expect(
      JSON.stringify([row.l, row.st, row.m, row.a], (_key, value) =>
        typeof value === 'bigint' ? Number(value) : value,
      ),
    ).toBe('[[4001,null],{"x":4001,"y":null},{"k":4001},[1.5,2]]')
    expect([...(row.h as Uint32Array)].map((word) => word >>> 0)).toEqual([
      2 ** 32 - 4001,
      2 ** 32 - 1,
      2 ** 32 - 1,
      2 ** 32 - 1,
    ])
    expect((row.d as Uint32Array)[0]).toBe(125)
    const empty: Uint8Array[] = []
    for await (const part of formatRows(await owner.query('SELECT 1 AS i WHERE false'), 'arrow'))
      empty.push(part as Uint8Array)
    expect(tableFromIPC(empty).schema.fields[0]?.name).toBe('i')
  })
})
