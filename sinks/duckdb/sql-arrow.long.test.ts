import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formatRows, jsonOf } from '../../cli/sql-format.ts'
import { random } from '../../environments/tower/random.ts'
import { type Database, openDatabase } from './database.ts'
import { withRows } from './sql-arrow-rows.ts'
import { SqlRefusedError } from './sql-errors.ts'
import type { Plain, SqlResult } from './sql-result.ts'
import { runStatement } from './sql-statement.ts'

const PYTHON = fileURLToPath(new URL('../../.venv/bin/python', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'sql-arrow-'))
let database: Database

beforeAll(async () => {
  database = await openDatabase({ file: join(folder, 'asked.duckdb'), access: 'owner' })
})
afterAll(async () => {
  await database.close()
  rmSync(folder, { recursive: true, force: true })
})

const ask = async (sql: string): Promise<SqlResult> =>
  withRows(await runStatement(await database.connect(), sql, { time_limit_ms: 60_000 }))

async function rowsOf(sql: string): Promise<Plain[][]> {
  const rows: Plain[][] = []
  for await (const batch of (await ask(sql)).batches) rows.push(...batch)
  return rows
}

async function written(sql: string, format: 'json' | 'csv' | 'arrow'): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of formatRows(await ask(sql), format)) parts.push(Buffer.from(part))
  return Buffer.concat(parts)
}

/** pyarrow checks every buffer; polars, where it is installed (it is large), must read the same stream. */
const READERS = `
import json, sys, pyarrow as pa
table = pa.ipc.open_stream(sys.argv[1]).read_all()
table.validate(full=True)
try:
    import polars
    assert polars.read_ipc_stream(sys.argv[1]).shape == (table.num_rows, table.num_columns)
except ImportError:
    pass
def plain(value):
    if isinstance(value, list): return [plain(each) for each in value]
    if isinstance(value, tuple): return [plain(each) for each in value]
    if isinstance(value, dict): return {name: plain(each) for name, each in value.items()}
    if isinstance(value, bytes): return value.hex()
    return value if value is None or isinstance(value, bool) else str(value)
if sys.argv[2] == 'shape':
    print(json.dumps(list(table.shape)))
    sys.exit()
columns = [name for name in table.column_names if not name.startswith('time')]
print(json.dumps([plain(row) for row in table.select(columns).to_pylist()]))
`

function readByPython(bytes: Buffer, what: 'rows' | 'shape' = 'rows'): Record<string, unknown>[] {
  const file = join(folder, 'answer.arrow')
  writeFileSync(file, bytes)
  return JSON.parse(execFileSync(PYTHON, ['-c', READERS, file, what], { encoding: 'utf8', maxBuffer: 2 ** 26 }))
}

/** A value as SQL, and as plain JSON. */
interface Sample {
  readonly sql: string
  readonly plain: Plain
}

const LARGEST = '340282366920938463463374607431768211455'
const LEAVES: Readonly<Record<string, readonly [sql: string, plain: Plain][]>> = {
  BOOLEAN: [
    ['true', true],
    ['false', false],
  ],
  TINYINT: [
    ['-128', -128],
    ['127', 127],
  ],
  INTEGER: [
    ['-2147483648', -2147483648],
    ['7', 7],
  ],
  UINTEGER: [
    ['4294967295', 4294967295],
    ['0', 0],
  ],
  BIGINT: [
    ['-9223372036854775808', '-9223372036854775808'],
    ['9007199254740993', '9007199254740993'],
  ],
  UBIGINT: [['18446744073709551615', '18446744073709551615']],
  HUGEINT: [
    ["'-170141183460469231731687303715884105728'", '-170141183460469231731687303715884105728'],
    ['5', '5'],
  ],
  UHUGEINT: [
    [`'${LARGEST}'`, LARGEST],
    ['0', '0'],
  ],
  BIGNUM: [
    [`'-${LARGEST}${LARGEST}'`, `-${LARGEST}${LARGEST}`],
    ['0', '0'],
  ],
  'DECIMAL(4,1)': [
    ['-999.9', '-999.9'],
    ['0.5', '0.5'],
  ],
  'DECIMAL(9,4)': [
    ['-99999.9999', '-99999.9999'],
    ['0', '0.0000'],
  ],
  'DECIMAL(18,6)': [
    ['-0.000001', '-0.000001'],
    ['999999999999.999999', '999999999999.999999'],
  ],
  'DECIMAL(38,0)': [["'-99999999999999999999999999999999999999'", '-99999999999999999999999999999999999999']],
  'DECIMAL(38,38)': [["'0.00000000000000000000000000000000000001'", '0.00000000000000000000000000000000000001']],
  FLOAT: [
    ['0.5', 0.5],
    ["'nan'", 'NaN'],
  ],
  DOUBLE: [
    ['0.1', 0.1],
    ["'-inf'", '-Infinity'],
    ['1e300', 1e300],
  ],
  VARCHAR: [
    ["''", ''],
    ["'twelve bytes'", 'twelve bytes'],
    ["'thirteen byte'", 'thirteen byte'],
    ["'🦆 ␀' || chr(0)", '🦆 ␀\0'],
    ["'\"\n,'", '"\n,'],
  ],
  BLOB: [
    ["'\\x00\\xFF'", '00ff'],
    ["''", ''],
  ],
  BIT: [
    ["'1'", '1'],
    ["'0101010111'", '0101010111'],
  ],
  UUID: [["'ffffffff-0000-4000-8000-000000000001'", 'ffffffff-0000-4000-8000-000000000001']],
  "ENUM('a', 'b', '')": [
    ["'b'", 'b'],
    ["''", ''],
  ],
  DATE: [
    ["'2026-02-03'", '2026-02-03'],
    ["'infinity'", 'infinity'],
    ["'0044-03-15 (BC)'", '0044-03-15 (BC)'],
    ["'5881580-07-10'", '5881580-07-10'],
  ],
  TIME: [
    ["'24:00:00'", '24:00:00'],
    ["'01:02:03.000004'", '01:02:03.000004'],
  ],
  TIME_NS: [["'01:02:03.000000004'", '01:02:03.000000004']],
  'TIME WITH TIME ZONE': [["'01:02:03+05:30'", '01:02:03+05:30']],
  TIMESTAMP: [
    ["'2026-01-31 12:00:00.5'", '2026-01-31T12:00:00.500Z'],
    ["'-infinity'", '-infinity'],
    ["'0001-01-01 (BC) 00:00:00'", '0000-01-01T00:00:00.000Z'],
  ],
  TIMESTAMP_S: [
    ["'1969-12-31 23:59:59'", '1969-12-31T23:59:59.000Z'],
    ["'infinity'", 'infinity'],
  ],
  TIMESTAMP_MS: [["'1969-12-31 23:59:59.999'", '1969-12-31T23:59:59.999Z']],
  TIMESTAMP_NS: [["'2026-01-31 12:00:00.000000001'", '2026-01-31T12:00:00.000000001Z']],
  'TIMESTAMP WITH TIME ZONE': [
    ["'2026-01-31 12:00:00.000001+00'", '2026-01-31T12:00:00.000001Z'],
    ["'294247-01-10 04:00:54.775806+00'", '+294247-01-10T04:00:54.775806Z'],
  ],
  INTERVAL: [
    ["'1 month'", '1 month'],
    ["'-1 day'", '-1 day'],
  ],
}

type Chance = (below: number) => number

interface Shape {
  readonly type: string
  readonly sample: (chance: Chance) => Sample
}
const absent: Sample = { sql: 'NULL', plain: null }
const maybe = ({ sample }: Shape, chance: Chance): Sample => (chance(5) === 0 ? absent : sample(chance))

/** A type nested up to `depth` deep, and how to make values of it. */
function shapeOf(chance: Chance, depth: number): Shape {
  const kind = depth === 0 ? 0 : chance(7)
  const inner = () => shapeOf(chance, depth - 1)
  if (kind <= 1) {
    const types = Object.keys(LEAVES).filter((type) => depth === DEPTH || !type.startsWith('ENUM')) // see sql-guard.ts
    const type = types[chance(types.length)] as string
    const leaves = LEAVES[type] ?? []
    return {
      type,
      sample: (chance) => {
        const [sql, plain] = leaves[chance(leaves.length)] as [string, Plain]
        return { sql: `(${sql})::${type}`, plain }
      },
    }
  }
  const item = inner()
  switch (kind) {
    case 2:
      return {
        type: `${item.type}[]`,
        sample: (chance) =>
          listOf(
            Array.from({ length: chance(4) }, () => maybe(item, chance)),
            `${item.type}[]`,
          ),
      }
    case 3: {
      const length = 1 + chance(3)
      const type = `${item.type}[${length}]`
      return {
        type,
        sample: (chance) =>
          listOf(
            Array.from({ length }, () => maybe(item, chance)),
            type,
          ),
      }
    }
    case 4: {
      const fields = [item, inner()]
      const type = `STRUCT("2" ${fields[0]?.type}, "a b" ${fields[1]?.type})`
      return {
        type,
        sample: (chance) => {
          const [one, two] = fields.map((field) => maybe(field, chance)) as [Sample, Sample]
          return { sql: `{'2': ${one.sql}, 'a b': ${two.sql}}::${type}`, plain: { 2: one.plain, 'a b': two.plain } }
        },
      }
    }
    case 5: {
      const type = `MAP(INTEGER, ${item.type})`
      return {
        type,
        sample: (chance) => {
          const entries = [9, -1, 3].slice(chance(4)).map((key) => ({ key, value: maybe(item, chance) }))
          const [keys, values] = [entries.map(({ key }) => key), entries.map(({ value }) => value.sql)]
          return {
            sql: `map([${keys}]::INTEGER[], [${values}]::${item.type}[])::${type}`,
            plain: entries.map(({ key, value }) => [key, value.plain]),
          }
        },
      }
    }
    default: {
      const type = `UNION(tag ${item.type}, other VARCHAR)`
      return {
        type,
        sample: (chance) => {
          const value = maybe(item, chance)
          return chance(3) === 0
            ? { sql: `union_value(other := 'x')::${type}`, plain: { other: 'x' } }
            : { sql: `union_value(tag := ${value.sql}::${item.type})::${type}`, plain: { tag: value.plain } }
        },
      }
    }
  }
}

function listOf(values: readonly Sample[], type: string): Sample {
  return { sql: `[${values.map(({ sql }) => sql)}]::${type}`, plain: values.map(({ plain }) => plain) }
}

const ROWS = 2_500
const SAMPLES = 5
const DEPTH = 3

describe('values of generated types, nested three deep and with NULLs at every level, are read back', () => {
  test.each(Array.from({ length: 12 }, (_, seed) => seed + 1))('seed %i', async (seed) => {
    const stream = random('sql-arrow', seed)
    const chance: Chance = (below) => stream.integer(0, below - 1)
    const columns = Array.from({ length: 4 }, () => {
      const shape = shapeOf(chance, DEPTH)
      return { type: shape.type, samples: Array.from({ length: SAMPLES }, () => maybe(shape, chance)) }
    })
    const samples = Array.from({ length: SAMPLES }, (_, at) => {
      const values = columns.map(({ type, samples }, column) => `(${samples[at]?.sql})::${type} AS c${column}`)
      return `SELECT ${at} AS k, ${values.join(', ')}`
    })
    const sql = `WITH s AS (${samples.join(' UNION ALL ')})
      SELECT s.* EXCLUDE (k) FROM range(${ROWS}) AS t(i) JOIN s ON k = i % ${SAMPLES} ORDER BY i`
    const rows = await rowsOf(sql)
    expect(rows.length).toBe(ROWS)
    for (const [i, row] of rows.entries()) {
      if (i % 500 > 10) continue
      expect(row, sql).toEqual(columns.map(({ samples }) => samples[i % SAMPLES]?.plain))
    }
    const json = JSON.parse((await written(sql, 'json')).toString('utf8'))
    expect(json.length).toBe(ROWS)
    expect((await written(sql, 'csv')).length).toBeGreaterThan(ROWS)
    expect(readByPython(await written(sql, 'arrow'), 'shape')).toEqual([ROWS, columns.length])
  })
})

test('every type of DuckDB, its least, its greatest and NULL, is read by pyarrow as JSON has it', async () => {
  const sql = 'FROM test_all_types() SELECT * EXCLUDE (float, double, double_array, date, date_array, geometry)'
  const [least, greatest, absent] = readByPython(await written(sql, 'arrow'))
  const { columns, batches } = await ask(sql)
  const rows: Plain[][] = []
  for await (const batch of batches) rows.push(...batch)
  const json = (row: number) =>
    Object.fromEntries(columns.map(({ name, type }, at) => [name, jsonOf(rows[row]?.[at] ?? null, type)]))
  const [first, second] = [json(0), json(1)]
  for (const name of [
    'bigint',
    'hugeint',
    'uhugeint',
    'ubigint',
    'bignum',
    'dec_4_1',
    'dec_9_4',
    'dec_18_6',
    'dec38_10',
  ]) {
    expect([name, least?.[name], greatest?.[name]]).toEqual([name, first[name], second[name]])
  }
  for (const name of ['uuid', 'bit', 'large_enum', 'interval', 'varchar', 'blob']) {
    expect([name, JSON.stringify(greatest?.[name])]).toEqual([name, second[name]])
  }
  expect(greatest?.fixed_nested_int_array).toEqual([
    ['4', '5', '6'],
    [null, '2', '3'],
    ['4', '5', '6'],
  ])
  expect(least?.union).toEqual({ tag: 'name', name: 'Frank', age: null })
  expect(Object.values(absent ?? {}).every((value) => value === null)).toBe(true)
})

test('a struct without names shows all its members, in every format', async () => {
  const sql = "SELECT ('left', 'right') AS pair, [(1, NULL)] AS pairs"
  expect((await written(sql, 'json')).toString()).toBe('[\n{"pair":["left","right"],"pairs":[[1,null]]}\n]\n')
  expect((await written(sql, 'csv')).toString()).toBe('pair,pairs\r\n"[""left"",""right""]","[[1,null]]"\r\n')
  expect(readByPython(await written(sql, 'arrow'))).toEqual([
    { pair: { 1: 'left', 2: 'right' }, pairs: [{ 1: '1', 2: null }] },
  ])
})

test('integers of 128 bits are decimals in Arrow, or text where the first rows need 39 digits', async () => {
  const [typed] = readByPython(await written('SELECT sum(i) AS s FROM range(10) t(i)', 'arrow'))
  expect(typed).toEqual({ s: '45' })
  const wide =
    "SELECT (CASE WHEN i = 5000 THEN '100000000000000000000000000000000000000' ELSE '1' END)::HUGEINT AS h FROM range(5001) t(i)"
  await expect(written(wide, 'arrow')).rejects.toThrow(/more than 38 digits comes after the first rows/)
})

test('long lists are sent in batches of bounded size, and a row group beyond the bound is a clear error', async () => {
  const { chunks } = await ask('SELECT range(100000) AS l FROM range(200)')
  let [bytes, largest] = [0, 0]
  for await (const chunk of chunks) {
    bytes += chunk.length
    largest = Math.max(largest, chunk.length)
  }
  expect(bytes).toBeGreaterThan(200 * 100_000 * 8)
  expect(largest).toBeLessThan(5 * 2 ** 20)
  await expect(rowsOf('SELECT range(100000) FROM range(2048)')).rejects.toThrow(/2048 rows .* larger than 256 MiB/)
})

test('a row that is too large is a clear error, and leaves no connection open', async () => {
  await expect(rowsOf("SELECT repeat('x', 100000000) AS t")).rejects.toThrow(/a row: larger than 64 MiB/)
  await expect(rowsOf('SELECT range(20000000 + i) AS l FROM range(1) t(i)')).rejects.toThrow(
    /a row: larger than 64 MiB/,
  )
  expect((await rowsOf("SELECT repeat('x', 60000000) AS t"))[0]?.[0]).toHaveLength(60_000_000)
  expect(await rowsOf('SELECT count FROM duckdb_connection_count()')).toEqual([['1']])
})

test('an answer without rows has its columns, nested ones too', async () => {
  const sql = "SELECT MAP {'a': [1]} AS m, {'s': 1} AS s, [1] AS l WHERE false"
  expect(await rowsOf(sql)).toEqual([])
  expect((await written(sql, 'csv')).toString()).toBe('m,s,l\r\n')
  expect(readByPython(await written(sql, 'arrow'), 'shape')).toEqual([0, 3])
})

test('a type that no client can read is refused with a message', async () => {
  await expect(ask("SELECT variant_extract('{}', 'a')")).rejects.toThrow()
  await expect(ask('SELECT 1::VARIANT')).rejects.toThrow(SqlRefusedError)
})
