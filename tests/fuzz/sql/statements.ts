import type { Random } from '../../../environments/tower/random.ts'
import { pick } from '../../../testing/pick.ts'

/** A function as `duckdb_functions()` lists it. */
export interface ListedFunction {
  readonly kind: string
  readonly name: string
  /** Names of types; `ANY`, `T`, `MAP(K, V)` and the like stand for any type that fits. */
  readonly parameters: readonly string[]
  readonly varargs: string | null
}

export const LISTED_FUNCTIONS = `
  SELECT function_type, function_name, parameter_types, varargs FROM duckdb_functions()
  WHERE function_type <> 'pragma' ORDER BY ALL`

/** Edge cases of each type. Statements also use them where another type is expected. */
const LITERALS: Readonly<Record<string, readonly string[]>> = {
  BOOLEAN: ['true', 'false'],
  INTEGER: ['0', '1', '-1', '7', '2147483647', '-2147483648', '1000000'],
  BIGINT: ['0', '3', '9223372036854775807', '-9223372036854775808', '1000000000000'],
  HUGEINT: ["'170141183460469231731687303715884105727'::HUGEINT", '5::HUGEINT'],
  DOUBLE: ['0.5', '1e308', "'nan'::DOUBLE", "'-inf'::DOUBLE", '-0.0', '1e-320'],
  DECIMAL: ["'0.00000000000000000000000000000000000001'::DECIMAL(38,38)", '1.5', '-999.9::DECIMAL(4,1)'],
  VARCHAR: [
    "''",
    "'a'",
    "'%2000000d'",
    "'🦆é'",
    "'[1, null]'",
    `'{"a": [1]}'`,
    "'$.a'",
    "'(a+)+$'",
    "'2026-01-31'",
    "'%Y-%m'",
    "'scores'",
    "'rewards'",
    "'stable'",
    "repeat('ab', 5000)",
    "'\\x00'",
    "'sum'",
    "'UTC'",
    "'a.csv'",
    "'/etc/passwd'",
  ],
  BLOB: ["'\\x00\\xFF'::BLOB", "''::BLOB", "encode('duck')"],
  BIT: ["'0'::BIT", "'0101010111'::BIT"],
  UUID: ["'ffffffff-0000-4000-8000-000000000001'::UUID"],
  DATE: ["DATE '2026-01-31'", "'infinity'::DATE", "'0044-03-15 (BC)'::DATE", "'5881580-07-10'::DATE"],
  TIME: ["TIME '24:00:00'", "TIME '01:02:03.000004'"],
  'TIME WITH TIME ZONE': ["'01:02:03+05:30'::TIMETZ"],
  TIMESTAMP: ["TIMESTAMP '2026-01-31 12:00:00'", "'-infinity'::TIMESTAMP", "'294247-01-10 04:00:54.775806'::TIMESTAMP"],
  'TIMESTAMP WITH TIME ZONE': ["TIMESTAMPTZ '2026-01-31 12:00:00+00'", "'infinity'::TIMESTAMPTZ"],
  INTERVAL: ["INTERVAL '1 month'", "INTERVAL '-2147483648 days'", "INTERVAL '9223372036854775807 microseconds'"],
  JSON: [`'{"a": {"b": [1, 2]}}'::JSON`, "'null'::JSON"],
  LIST: ['[1, 2, NULL]', '[]', "['a', 'b']", '[[1], NULL]', "[{'a': 1}]", 'range(1000)', '[0.5::FLOAT, 1]'],
  ARRAY: ['[1, 2, 3]::FLOAT[3]', "['a', 'b']::VARCHAR[2]"],
  MAP: ["MAP {'k': 1}", 'MAP {}', 'MAP {1: [NULL]}'],
  STRUCT: ["{'a': 1, 'b': 'x'}", "('left', 'right')"],
  UNION: ["union_value(k := 'v')"],
  ENUM: ["'a'::ENUM('a', 'b')"],
  LAMBDA: ['lambda x: x', 'lambda x, y: x + y', 'lambda x: x > 1', 'x -> x'],
}
const COLUMNS = ['reward', 'outcome', 'group_id', 'completion_index', 'task', 'r.reward', '*']
const TYPES = [
  ...Object.keys(LITERALS).filter((type) => !/LAMBDA|LIST|STRUCT|MAP|UNION|ENUM|ARRAY|DECIMAL/.test(type)),
  'INTEGER[]',
  'VARCHAR[][]',
  'DECIMAL(38,3)',
  'FLOAT[2]',
  'STRUCT(a INTEGER)',
  'MAP(VARCHAR, INTEGER)',
  'UNION(k VARCHAR)',
  'TYPE',
  'VARIANT',
  'GEOMETRY',
]

const chance = (random: Random, percent: number) => random.integer(0, 99) < percent

function familyOf(type: string): string {
  if (/\[\d+\]$|ARRAY/.test(type)) return 'ARRAY'
  if (/\[\]$|^LIST/.test(type)) return 'LIST'
  const [base = type] = type.split('(')
  if (base in LITERALS) return base
  if (/INT/.test(base)) return 'BIGINT'
  if (/FLOAT/.test(base)) return 'DOUBLE'
  if (/TIMESTAMP/.test(base)) return 'TIMESTAMP'
  return ''
}

/** Statements with every function that DuckDB lists, in all kinds of SQL, and statements that must be refused. */
export class Statements {
  readonly #values: readonly ListedFunction[]
  readonly #tables: readonly ListedFunction[]

  constructor(functions: readonly ListedFunction[]) {
    this.#tables = functions.filter(({ kind }) => kind.startsWith('table'))
    this.#values = functions.filter(({ kind }) => !kind.startsWith('table'))
  }

  /** A statement; `forbidden` when it must never be answered. */
  next(random: Random): { readonly sql: string; readonly forbidden: boolean } {
    if (chance(random, 15)) return { sql: this.#disguised(random, pick(random, FORBIDDEN)), forbidden: true }
    return { sql: this.#disguised(random, this.#query(random, pick(random, [0, 0, 0, 1, 1, 2]))), forbidden: false }
  }

  #query(random: Random, depth: number): string {
    const inner = () => this.#query(random, depth - 1)
    const value = () => this.#value(random, Math.max(1, depth))
    switch (depth <= 0 ? random.integer(0, 3) : random.integer(0, 18)) {
      case 0:
        return `SELECT ${value()}`
      case 1:
        return `SELECT ${value()}, ${value()} FROM rewards AS r LIMIT 20`
      case 2:
        return `FROM ${this.#table(random, depth)} LIMIT 20`
      case 3:
        return `SELECT ${value()} FROM range(${pick(random, ['3', '2049', '5000'])}) AS t(reward) GROUP BY ALL ORDER BY ALL LIMIT 20`
      case 4:
        return `WITH a AS (${inner()}), b AS MATERIALIZED (${inner()}) FROM a, b LIMIT 20`
      case 5:
        return `${inner()} ${pick(random, ['UNION ALL', 'UNION BY NAME', 'INTERSECT', 'EXCEPT'])} ${inner()}`
      case 6:
        return `SELECT ${value()} FROM (${inner()}) AS r LIMIT 20`
      case 7:
        return `SELECT (${inner()}), EXISTS (${inner()}), 1 IN (${inner()})`
      case 8:
        return `SELECT ${value()} OVER (PARTITION BY outcome ORDER BY ${pick(random, COLUMNS)} ROWS ${random.integer(0, 3)} PRECEDING) FROM rewards r LIMIT 20`
      case 9:
        return `SELECT outcome, ${value()} FILTER (WHERE reward > ${value()}) FROM rewards r GROUP BY GROUPING SETS ((outcome), ()) HAVING ${value()}`
      case 10:
        return `${pick(random, ['DESCRIBE', 'SUMMARIZE', 'EXPLAIN', 'EXPLAIN ANALYZE'])} ${inner()}`
      case 11:
        return `FROM (${inner()}) PIVOT (count(*) FOR ${pick(random, COLUMNS)} IN (1, 'stable'))`
      case 12:
        return `WITH RECURSIVE a(x) AS (SELECT ${value()} UNION ALL SELECT x FROM a WHERE x IS NULL LIMIT 3) FROM a LIMIT 20`
      case 13:
        return `FROM rewards r ${pick(random, ['ASOF JOIN', 'POSITIONAL JOIN', 'SEMI JOIN', 'NATURAL JOIN', 'CROSS JOIN'])} (${inner()}) AS s LIMIT 20`
      case 14:
        return `SELECT [${value()} FOR x IN ${pick(random, LITERALS.LIST ?? [])} IF x IS NOT NULL]`
      case 15:
        return `SELECT CASE WHEN ${value()} THEN ${value()} ELSE ${value()} END, TRY(${value()})`
      case 16:
        return `SELECT COLUMNS(c -> ${value()}) FROM rewards LIMIT 20`
      case 17:
        return `FROM rewards USING SAMPLE ${random.integer(0, 200)}${pick(random, ['%', ' ROWS'])} LIMIT 20`
      default:
        return `VALUES (${value()}, ${value()}), (${value()}, NULL)`
    }
  }

  #table(random: Random, depth: number): string {
    const listed = pick(random, this.#tables)
    const options = chance(random, 10)
      ? [`${pick(random, ['storage', 'recursive', 'use_large_enum'])} := ${this.#value(random, 0)}`]
      : []
    return `${this.#name(random, listed.name)}(${[...this.#arguments(random, listed, depth), ...options].join(', ')})`
  }

  #value(random: Random, depth: number): string {
    if (depth <= 0 || chance(random, 15)) return this.#leaf(random, pick(random, Object.keys(LITERALS)))
    if (chance(random, 10))
      return `${chance(random, 50) ? 'TRY_CAST' : 'CAST'}(${this.#value(random, depth - 1)} AS ${pick(random, TYPES)})`
    const listed = pick(random, this.#values)
    const given = this.#arguments(random, listed, depth)
    if (!/^\w+$/.test(listed.name)) {
      const [left = 'NULL', right] = given
      return right === undefined ? `(${listed.name} ${left})` : `(${left} ${listed.name} ${right})`
    }
    const inside = `${chance(random, 5) ? 'DISTINCT ' : ''}${given.join(', ')}${chance(random, 4) ? ' ORDER BY 1' : ''}`
    return `${this.#name(random, listed.name)}(${inside})`
  }

  #arguments(random: Random, { parameters, varargs }: ListedFunction, depth: number): string[] {
    const more = varargs === null ? 0 : random.integer(0, 3)
    const types = [...parameters, ...Array.from({ length: more }, () => varargs ?? 'ANY')]
    if (chance(random, 3)) types.push('ANY')
    return types.map((type) => {
      if (chance(random, 5)) return 'NULL'
      if (depth > 1 && chance(random, 30)) return this.#value(random, depth - 1)
      return this.#leaf(random, chance(random, 95) ? familyOf(type ?? 'ANY') : '')
    })
  }

  #leaf(random: Random, family: string): string {
    if (chance(random, 4)) return pick(random, COLUMNS)
    return pick(random, LITERALS[family] ?? LITERALS[pick(random, Object.keys(LITERALS))] ?? [])
  }

  #name(random: Random, name: string): string {
    switch (random.integer(0, 9)) {
      case 0:
        return `"${name}"`
      case 1:
        return name.toUpperCase()
      case 2:
        return `main.${name}`
      case 3:
        return `${name}/* ( */`
      default:
        return name
    }
  }

  /** Varies comments, quotes, spaces and case, which must not let a forbidden statement through. */
  #disguised(random: Random, sql: string): string {
    switch (random.integer(0, 11)) {
      case 0:
        return `/* ${pick(random, ['SELECT 1', "'", '/* nested */', '--'])} */ ${sql}`
      case 1:
        return `-- ${pick(random, ["'", '/*', 'EXPLAIN'])}\n${sql} -- end`
      case 2:
        return sql.replaceAll(' ', () => pick(random, [' ', '\n', '\t', '/**/', ' ']))
      case 3:
        return `${sql};`
      case 4:
        return sql.toLowerCase()
      case 5: {
        const at = random.integer(0, sql.length)
        return `${sql.slice(0, at)}${pick(random, ["'", '"', ')', '/*', ';', '$$', '\0', '🦆', ' , '])}${sql.slice(at)}`
      }
      default:
        return sql
    }
  }
}

/** None of these may run, however it is disguised; a disguise that breaks one makes it a syntax error. */
export const FORBIDDEN: readonly string[] = [
  'CREATE TABLE fuzzed (i INT)',
  'INSERT INTO internal.meta VALUES (1, 1)',
  'DELETE FROM internal.meta',
  'DROP VIEW rewards',
  "COPY (SELECT 1) TO 'fuzzed.csv'",
  "EXPLAIN ANALYZE COPY (SELECT 1) TO 'fuzzed.csv'",
  'EXPLAIN ANALYZE CREATE TABLE fuzzed AS SELECT 1',
  "EXPORT DATABASE 'fuzzed'",
  "ATTACH 'fuzzed.duckdb' AS fuzzed",
  'SET threads = 1',
  "SET GLOBAL memory_limit = '1KB'",
  'PRAGMA enable_profiling',
  'CALL force_checkpoint()',
  'FROM force_checkpoint()',
  "FROM enable_logging('QueryLog', storage := 'file', storage_path := 'fuzzed')",
  "SELECT '/*', * FROM enable_logging/**/(storage := 'file', storage_path := 'fuzzed')",
  "FROM query('FROM force_checkpoint()')",
  "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
  "FROM read_csv('fuzzed.csv')",
  "FROM 'fuzzed.csv'",
  "SELECT write_log('fuzzed')",
  "SELECT nextval('fuzzed')",
  'INSTALL httpfs',
  'LOAD httpfs',
  'SELECT 1; DROP VIEW rewards',
  'BEGIN',
  'PREPARE fuzzed AS SELECT 1',
  'VACUUM',
  'CREATE MACRO fuzzed() AS 1',
  'PIVOT rewards ON outcome USING count(*)',
]
