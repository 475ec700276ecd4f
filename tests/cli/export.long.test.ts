import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DuckDBInstance } from '@duckdb/node-api'
import { beforeAll, expect, test } from 'vitest'
import { eventually, plumbline, plumblineOk, sharedFolder, sql, start } from './plumbline.ts'

const PYTHON = fileURLToPath(new URL('../../.venv/bin/python', import.meta.url))
let cwd = ''

beforeAll(async () => {
  cwd = await sharedFolder()
  for (const [dataset, task] of [
    ['side_block', 'x_y'],
    ['top_block', 'x_only'],
  ] as const) {
    const scenes = ['--scenes', '5', '--seed', '1', '--group-size', '4']
    await plumblineOk(['generate', 'tower', '--dataset', dataset, '--task', task, ...scenes], { cwd })
  }
  await plumblineOk(['run', '--until-idle'], { cwd })
})

async function read(question: string): Promise<unknown[][]> {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  try {
    return (await connection.runAndReadAll(question)).getRowsJson() as unknown[][]
  } finally {
    connection.disconnectSync()
    instance.closeSync()
  }
}

const PYARROW = `
import json, sys, pyarrow.dataset as ds
table = ds.dataset(sys.argv[1], format='parquet', partitioning='hive').to_table()
rows = table.to_pylist()
print(json.dumps([sorted(table.column_names), sorted([r['dataset'], r['task'], r['group_id'], r['completion_index'], r['reward']] for r in rows)]))
`
const CHOSEN = 'dataset, task, group_id, completion_index, reward'

test('DuckDB and pyarrow read what the view holds, from folders named by the chosen columns', async () => {
  const exported = JSON.parse(
    await plumblineOk(['export', 'parquet', 'out', '--by', 'dataset,task', '--json'], { cwd }),
  )
  expect(exported).toMatchObject({ rows: 40, dir: join(cwd, 'out') })
  expect(readdirSync(join(cwd, 'out')).sort()).toEqual(['dataset=side_block', 'dataset=top_block'])
  const expected = (await sql(`select ${CHOSEN} from rewards order by all`, { cwd })).map((row) => Object.values(row))
  const files = `read_parquet('${join(cwd, 'out')}/**/*.parquet', hive_partitioning = true)`
  expect(await read(`select ${CHOSEN} from ${files} order by all`)).toEqual(expected)
  const [columns, rows] = JSON.parse(execFileSync(PYTHON, ['-c', PYARROW, join(cwd, 'out')], { encoding: 'utf8' }))
  expect(rows).toEqual(expected)
  const described = await sql<{ column_name: string }>('describe rewards', { cwd })
  expect(columns).toEqual(described.map(({ column_name }) => column_name).sort())
})

test('every table of events can be exported, as one file when no column is named', async () => {
  const tables = await sql<{ name: string }>(
    "select distinct name from docs where name like '%.%' and name not like 'internal.%'",
    { cwd },
  )
  expect(tables.length).toBeGreaterThan(7)
  for (const { name } of tables) {
    await plumblineOk(['export', 'parquet', join('tables', name), '--table', name], { cwd })
    const [[rows]] = (await read(`select count(*)::int from '${join(cwd, 'tables', name)}/data.parquet'`)) as [[number]]
    expect([{ n: rows }], name).toEqual(await sql(`select count(*)::int as n from ${name}`, { cwd }))
  }
}, 120_000)

test('while a run is active, its process writes the export, inside its own folder and nowhere else', async () => {
  const running = start(['run'], { cwd })
  await eventually(() => existsSync(join(cwd, 'data', 'plumbline.duckdb.sock')))
  await plumblineOk(['export', 'parquet', 'live', '--by', 'task'], { cwd })
  expect(readdirSync(join(cwd, 'live')).sort()).toEqual(['task=x_only', 'task=x_y'])
  expect(readdirSync(join(cwd, 'data', '.exports'))).toEqual([])
  // Into the data folder too: the .exports folder that the process writes to must survive an export.
  await plumblineOk(['export', 'parquet', join('data', 'inside')], { cwd })
  expect(readdirSync(join(cwd, 'data', '.exports'))).toEqual([])
  const copied = await plumbline(['sql', `copy (select 1) to '${join(cwd, 'data', '.exports', 'x.csv')}'`], { cwd })
  expect(copied.code).not.toBe(0)
  const looked = await plumbline(['sql', `from read_text('${join(cwd, 'data', 'plumbline.json')}')`], { cwd })
  expect(looked.code).not.toBe(0)
  running.child.kill('SIGTERM')
  expect((await running.ended).code).toBe(0)
})

test('an existing export stays, unless it is to be replaced; an unknown name is refused and leaves nothing', async () => {
  await plumblineOk(['export', 'parquet', 'kept'], { cwd })
  expect(await plumbline(['export', 'parquet', 'kept', '--table', 'groups'], { cwd })).toMatchObject({ code: 2 })
  await plumblineOk(['export', 'parquet', 'kept', '--table', 'groups', '--overwrite'], { cwd })
  const [[groups]] = (await read(`select count(*)::int from '${join(cwd, 'kept')}/data.parquet'`)) as [[number]]
  expect(groups).toBe(10)
  for (const wrong of [
    ['--table', 'nothing'],
    ['--table', 'rewards" TO \'/tmp/x'],
    ['--by', 'nothing'],
    ['--table', 'internal.meta'],
  ]) {
    const refused = await plumbline(['export', 'parquet', 'refused', ...wrong], { cwd })
    expect([refused.code, existsSync(join(cwd, 'refused'))], refused.stderr).toEqual([1, false])
  }
  expect(readdirSync(cwd).filter((name) => name.startsWith('.'))).toEqual([])
})

test('--overwrite replaces an earlier export and nothing else: not the data folder, not other files', async () => {
  for (const [dir, holds] of [
    ['data', 'plumbline.json'],
    ['.', 'plumbline.json'],
  ] as const) {
    const refused = await plumbline(['export', 'parquet', dir, '--overwrite'], { cwd })
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('is no earlier export')])
    expect(existsSync(join(cwd, 'data', holds))).toBe(true)
  }
})
