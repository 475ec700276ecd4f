import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Database, openDatabase } from './database.ts'
import { withRows } from './sql-arrow-rows.ts'
import { SqlFailedError, SqlRefusedError } from './sql-errors.ts'
import { runStatement } from './sql-statement.ts'
import { sectionsOf, VOCABULARY_FILE, vocabularyOf } from './sql-vocabulary.ts'
import { listedNames, vocabularyText } from './vocabulary-text.ts'

const folder = mkdtempSync(join(tmpdir(), 'sql-guard-'))
let database: Database

beforeAll(async () => {
  database = await openDatabase({ file: join(folder, 'guarded.duckdb'), access: 'owner', export_dir: folder })
  const connection = await database.connect()
  await connection.run('CREATE SCHEMA tower')
  await connection.run("CREATE TABLE tower.scores AS SELECT range AS id, range % 3 AS task, 'a' AS name FROM range(9)")
  await connection.run('CREATE VIEW scores AS FROM tower.scores')
  connection.disconnectSync()
})
afterAll(async () => {
  await database.close()
  rmSync(folder, { recursive: true, force: true })
})

async function ask(sql: string): Promise<number> {
  const { batches } = withRows(await runStatement(await database.connect(), sql, { time_limit_ms: 20_000 }))
  let rows = 0
  for await (const batch of batches) rows += batch.length
  return rows
}

async function openConnections(): Promise<number> {
  const connection = await database.connect()
  const [[count] = []] = (await connection.runAndReadAll('SELECT count FROM duckdb_connection_count()')).getRows()
  connection.disconnectSync()
  return Number(count) - 1
}

test('the vocabulary holds exactly what the pinned DuckDB lists, each name classified', async () => {
  const text = readFileSync(VOCABULARY_FILE, 'utf8')
  const sections = sectionsOf(text)
  expect(sections.filter(({ allowed, reason }) => !allowed && reason === '')).toEqual([])
  expect(text).toBe(vocabularyText(await listedNames(), sections))
})

test('a function that DuckDB gains is refused until it is classified', async () => {
  const sections = sectionsOf(readFileSync(VOCABULARY_FILE, 'utf8'))
  const listed = {
    version: 'v9',
    names: [
      { kind: 'scalar', name: 'abs' },
      { kind: 'table', name: 'read_minds' },
    ],
  }
  const text = vocabularyText(listed, sections)
  expect(text).toContain('# allowed scalar\nabs\n\n# unclassified table\nread_minds\n')
  const later = vocabularyOf(sectionsOf(text))
  expect([later.functions.has('abs'), later.tableFunctions.has('read_minds')]).toEqual([true, false])
})

test('where a function takes another’s name as text, the name must be a literal, and allowed', async () => {
  for (const name of ['list_aggregate', 'list_aggr', 'array_aggregate', 'array_aggr', 'aggregate']) {
    expect(await ask(`SELECT ${name}([1, 2], 'Sum')`)).toBe(1)
    for (const named of ["'reservoir_quantile', 0.5, 2147483647", "'reservoir_' || 'quantile'", 'name', 'NULL', '']) {
      await expect(ask(`SELECT ${name}([1, 2], ${named}) FROM scores`.replace(', )', ')'))).rejects.toThrow(
        SqlRefusedError,
      )
    }
  }
})

/** A call of every function that the vocabulary refuses. */
const REFUSED_CALLS = sectionsOf(readFileSync(VOCABULARY_FILE, 'utf8'))
  .filter(({ allowed, kind }) => !allowed && kind !== 'type')
  .flatMap(({ kind, names }) =>
    names.map((name) => (kind.startsWith('table') ? `FROM ${name}('x')` : `SELECT ${name}('x')`)),
  )

test('every refused function is refused, however it is written', async () => {
  for (const call of REFUSED_CALLS) {
    const name = /\w+(?=\('x'\))/.exec(call)?.[0] ?? ''
    for (const written of [
      name,
      `"${name}"`,
      name.toUpperCase(),
      `main.${name}`,
      `system.main.${name}`,
      `${name}/**/`,
    ]) {
      const sql = call.replace(name, written)
      await expect(ask(sql), sql).rejects.toThrow(/^(the function|no function)/)
    }
  }
  expect(await openConnections()).toBe(0)
})

describe('refuses', () => {
  test.each([
    "select '/*', * from enable_logging/**/(storage := 'file', storage_path := '/tmp/x')",
    "select '--' from enable_logging\n--\n('QueryLog')",
    'select $$/*$$, * from "Enable_Logging"()',
    "explain analyze copy (select 1) to '/tmp/plumbline-written.csv'",
    "explain copy (select 1) to '/tmp/x.csv'",
    "/* a */ explain /* b */ analyze copy (select 1) to '/tmp/x.csv'",
    "explain (analyze, format json) copy (select 1) to '/tmp/x.csv'",
    "explain explain copy (select 1) to 'x'",
    'explain (analyze, profile) select 1',
    "select get_type('x')",
    'select id.get_type() from scores',
    "select list_transform(['x'], lambda x: get_type(x))",
    "select 1 order by get_type('x')",
    "select 1 limit (select count(*) from glob('/*'))",
    "select sum(1) over (order by write_log('x')) from scores",
    "select * from scores where exists (from read_text('/etc/passwd'))",
    "with a as (from read_csv('/etc/passwd')) select 1",
    "with recursive a as (select 1 union all from glob('*')) from a",
    "values (getvariable('x'))",
    "describe from read_csv('x')",
    "summarize from read_csv('x')",
    "from scores pivot (count(*) for task in (1) group by name) join glob('/*') on true",
    "pivot (from glob('/*')) on file in ('a') using count(*)",
    "unpivot (from glob('/*')) on file",
    "from scores tablesample 10%, glob('*')",
    'select columns(c -> write_log(c) is null) from scores',
    "select * replace (write_log('x') as name) from scores",
    "select case when write_log('x') is null then 1 end",
    "select distinct on (write_log('x')) 1",
    "select cast(write_log('x') as int)",
    "select count(*) filter (where write_log('x') is null) from scores",
    "select 1 from scores group by cube (write_log('x'))",
    "select 1 from scores group by all having write_log('x') is null",
    "select 1 from scores qualify row_number() over (partition by write_log('x')) = 1",
    "from scores at (version => write_log('x'))",
    "select {'a': write_log('x')}, [write_log('x')], map {'a': write_log('x')}",
    "select write_log('x') in (1)",
    "select 1 between write_log('x') and 2",
    "from query_table(['scores'])",
    "from query('copy scores to ''x''')",
    'from histogram_values(scores, id)',
    'select sum(id) export_state from scores',
    "select 'x'::type",
    'select null::struct(a type[])',
    "select null::enum('a')[]",
    "from 'rows.csv'",
    'from "/etc/passwd"',
    `from "${folder}/x".parquet`,
    "from scores; copy scores to 'x'",
    'from scores;;from scores',
    'select ?',
    'select $name',
    'pivot scores on name using count(*)',
    'create macro m() as 1',
    'merge into scores using scores on true when matched then delete',
    "load 'x'",
    'with a as (insert into tower.scores values (1) returning *) from a',
    'from scores where',
    'select nextval($$x$$)',
  ])('%s', async (sql) => {
    await expect(ask(sql)).rejects.toThrow(
      sql.endsWith('where') || /insert into/.test(sql) ? SqlFailedError : SqlRefusedError,
    )
    expect(await openConnections()).toBe(0)
  })
})

describe('answers', () => {
  test.each([
    'describe scores',
    'describe select 1',
    'describe',
    'summarize scores',
    'summarize select 1',
    'show tables',
    'show all tables',
    'show databases',
    'show tables from tower',
    'show scores',
    'pivot scores on task in (0, 1) using count(*) group by name',
    'from scores pivot (sum(id) as ids, count(*) for task in (0, 1) group by name)',
    'unpivot scores on id, task into name key value v',
    'from scores unpivot (v for key in (columns(* exclude name)))',
    'from scores',
    'from scores select id',
    'from tower.scores',
    'from guarded.tower.scores',
    'table scores',
    'values (1), (2)',
    'explain from scores',
    'explain analyze from scores',
    'explain (format json) from scores',
    'EXPLAIN (ANALYZE, FORMAT JSON) from scores',
    '-- why\nexplain select 1;',
    'with a(x) as materialized (select 1) from a, scores',
    'with recursive a(x) as (select 1 union all select x + 1 from a where x < 5) from a',
    'select id, row_number() over w as n from scores window w as (partition by task order by id) qualify n = 1',
    'from scores using sample 3 rows',
    'from scores tablesample reservoir(50%)',
    'from scores a positional join scores b',
    'from scores a asof join scores b on a.id >= b.id',
    'from scores a semi join scores b using (id)',
    'select list_transform([1, 2], lambda x: x + 1), [x * 2 for x in [1, 2] if x > 1]',
    "select list_reduce([1, 2], lambda a, b: a + b), list_aggregate([1, 2], 'sum')",
    "select columns(c -> c like 'i%') from scores",
    'select * exclude (id) replace (task + 1 as task) rename (name as title) from scores',
    'select distinct on (task) * from scores order by all limit 50%',
    "select '{\"a\": 1}'::json -> '$.a', '[1]'::json ->> 0, x.y from (select {'y': 1} as x)",
    'select task, name, count(*), grouping(task) from scores group by grouping sets ((task), (name)), rollup (name)',
    "select count(distinct id) filter (where id > 1), string_agg(name, ',' order by id desc) from scores",
    "select date '2020-01-01' + interval 3 day, extract(year from current_date), now() at time zone 'utc'",
    "select 'a' like '%', 'a' ilike 'A', 'a' similar to 'a', 'a' ~ 'a', 'a' collate nocase = 'A'",
    'select 1 union by name select 2 as b except select 3, 4 order by 1 nulls last limit 2 offset 1',
    'select exists (from scores), 1 = any (select 1), 2 > all (select 1), array(select 1), 1 in (1, 2)',
    "select unnest([1, 2]), unnest({'a': 1}, recursive := true)",
    'from range(3) t(i), lateral (select i + 1), unnest([1]) with ordinality',
    'select a.id.greatest(3).least(5) from scores a',
    'select x::decimal(38, 2), x::int[], x::int[2], x::struct(a int, b map(int, text)) , try_cast(x as uuid) from (select null as x)',
    "select null::enum('a', 'b'), null::union(a int, b text), null::timestamptz, null::timestamp_ns, null::time with time zone",
    'select 1e999, -1e999, \'nan\'::float as "Infinity"',
    "select try(cast('x' as int)), coalesce(null, 1), nullif(1, 1), if(true, 1, 2), case 1 when 1 then 2 else 3 end",
    'from duckdb_functions()',
    'from duckdb_columns()',
    'from information_schema.tables',
    'from pg_catalog.pg_class',
    "from pragma_table_info('scores')",
    "select current_setting('threads'), version(), current_user, current_date",
    'select -1, +1, not true, 5!, @ -1, 2 ** 3, 5 // 2, 1 << 2, ~1',
    'from test_all_types()',
    '/* one /* nested */ */ select \'--\', "id" from scores -- end',
    'select 1;',
  ])('%s', async (sql) => {
    expect(await ask(sql)).toBeGreaterThanOrEqual(0)
    expect(await openConnections()).toBe(0)
  })
})

describe('hostile sizes are refused with a message, at once', () => {
  const times = (text: string, n: number) => text.repeat(n)
  test.each([
    ['a text of 100 MB', `select '${times('x', 100_000_000)}'`, /may have 262144 bytes/],
    ['20,000 nested comments', `select ${times('/*', 20_000)}${times('*/', 20_000)}1`, /1000 comments/],
    ['a sum of 900 terms', `select 1${times('+1', 900)}`, /nested more than 256 deep/],
    ['lists in lists', `select ${times('[', 400)}${times(']', 400)}`, /nested more than 256 deep/],
    ['calls in calls', `select ${times('abs(', 300)}1${times(')', 300)}`, /nested more than 256 deep/],
    ['queries in queries', `select ${times('(select ', 5_000)}1${times(')', 5_000)}`, /memory exhausted|depth/],
    ['parentheses', `select ${times('(', 100_000)}1${times(')', 100_000)}`, /memory exhausted/],
    ['a union of 9,000', `select 1${times(' union all select 1', 9_000)}`, /more than 1000 queries/],
    ['arrows', `select ${times('x -> ', 600)}1`, /nested more than 256 deep/],
    ['types in types', `select null::${times('struct(a ', 400)}int${times(')', 400)}`, /nested more than 256 deep/],
    ['10,000 statements', times('select 1;', 10_000), /got 10000/],
    ['a character that ends texts', 'select 1\0; copy', /U\+0000/],
  ])('%s', async (_what, sql, message) => {
    const started = performance.now()
    await expect(ask(sql)).rejects.toThrow(message)
    expect(performance.now() - started).toBeLessThan(5_000)
    expect(await openConnections()).toBe(0)
  })
})
