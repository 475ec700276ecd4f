import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { readOwner } from '../../sinks/duckdb/owner-record.ts'
import { sqlRows } from '../../testing/sql-rows.ts'
import { eventually, funnel, plumbline, plumblineOk, type Running, sharedFolder, sql, start } from './plumbline.ts'

const GROUP_SIZE = 4

let root = ''
beforeAll(async () => {
  root = await sharedFolder()
})

const generate = (data: string, scenes: number, seed = '7') => {
  const tower = ['--dataset', 'side_block', '--task', 'x_y', '--seed', seed, '--group-size', `${GROUP_SIZE}`]
  return plumblineOk(['--data', data, 'generate', 'tower', ...tower, '--scenes', `${scenes}`], { cwd: root })
}
const here = (data: string) => ({ cwd: root, env: { PLUMBLINE_DATA: data } })

const FORMED = 'select count(*)::int as n from rollout.group_formed'

/** Queried from this process: starting a program for each query would take most of the machine. */
async function formed(data: string, atLeast: number): Promise<boolean> {
  const [row] = await sqlRows({ file: join(root, data, 'plumbline.duckdb') }, FORMED)
  return Number(row?.[0]) >= atLeast * GROUP_SIZE
}

/** Records read by each processor, from the final report. */
function recordsIn({ stderr }: { readonly stderr: string }): Record<string, number> {
  const lines = stderr.matchAll(/^([a-z-]+): ([\d,]+) records in/gm)
  return Object.fromEntries([...lines].map(([, name, count]) => [name, Number(count?.replaceAll(',', ''))]))
}

/** The process that has the tables of a run open. */
const ownerOf = (data: string) => readOwner(join(root, data, 'plumbline.duckdb'))?.pid as number

async function terminate(running: Running) {
  running.child.kill('SIGTERM')
  return running.ended
}

test('run answers sql from another process while it is active, processes what arrives, and SIGTERM drains it', async () => {
  await generate('going', 20)
  const running = start(['run', '--policy', 'random-legal'], here('going'))
  await eventually(() => formed('going', 20))
  await generate('going', 150)
  await eventually(() => formed('going', 40))
  expect((await sql<{ n: number }>(FORMED, here('going')))[0]?.n).toBeGreaterThanOrEqual(40 * GROUP_SIZE)
  expect(running.child.exitCode).toBe(null)

  const ended = await terminate(running)
  expect(ended, ended.stderr).toMatchObject({ code: 0, signal: null, stdout: '' })
  expect(ended.stderr).toContain('stopping: committing finished work')
  expect(recordsIn(ended)['form-groups']).toBeGreaterThan(40)
  expect(ended.stderr).not.toMatch(/dead letter|error/i)

  // The next run does the remaining work, and nothing twice.
  const rest = await plumbline(['run', '--until-idle', '--policy', 'random-legal', '--json'], here('going'))
  expect(rest, rest.stderr).toMatchObject({ code: 0, stderr: '' })
  const before = recordsIn(ended)['sample-completions'] ?? 0
  const { stages } = JSON.parse(rest.stdout) as { stages: Record<string, { records: number }> }
  expect(before + (stages['sample-completions']?.records ?? 0)).toBe(150)
  expect(await funnel(here('going'))).toEqual({ formed: 150 * GROUP_SIZE })
  expect(await plumblineOk(['verify'], here('going'))).toBe('verify: passed\n')
})

test('a first Ctrl-C ends run --until-idle after the work in progress, and the same command loads the rest', async () => {
  // Many transactions to load: the signal arrives during the first of them.
  const scenes = 1_000
  const loaded = async () => {
    const counts = ['tower.scene_presented', 'tower.completions_scored', 'rollout.group_formed']
      .map((table) => `(select count(*) from ${table})`)
      .join(' + ')
    return Number((await sql<{ n: number }>(`select (${counts})::int as n`, here('left')))[0]?.n)
  }
  await generate('left', scenes)
  const untilIdle = ['run', '--until-idle', '--policy', 'random-legal']
  await plumblineOk([...untilIdle, '--no-sink'], here('left'))
  const running = start(untilIdle, here('left'))
  await eventually(() => existsSync(join(root, 'left', 'plumbline.duckdb.sock')))
  // Twice, as under ./plumbline: once from the terminal and once forwarded.
  running.child.kill('SIGINT')
  running.child.kill('SIGINT')
  const stopped = await running.ended
  expect(stopped, stopped.stderr).toMatchObject({ code: 0, signal: null })
  expect(stopped.stderr).toMatch(
    /stopped before the end: [1-9][\d,]* records are not loaded yet; the same command resumes\n$/,
  )
  const all = scenes * (1 + 2 * GROUP_SIZE)
  expect(await loaded()).toBeLessThan(all)

  const again = await plumbline(untilIdle, here('left'))
  expect(again, again.stderr).toMatchObject({ code: 0 })
  expect(again.stderr).not.toContain('stopped')
  expect(await loaded()).toBe(all)
  expect(await funnel(here('left'))).toEqual({ formed: scenes * GROUP_SIZE })
})

test('processors and a sink can run one after another, each in its own process, and give the same as together', async () => {
  await generate('apart', 6)
  const untilIdle = ['run', '--until-idle', '--policy', 'random-legal', '--json']
  for (const name of ['sample-completions', 'score-completions', 'form-groups']) {
    const totals = await plumblineOk([...untilIdle, '--only', name, '--no-sink'], here('apart'))
    expect(JSON.parse(totals)).toEqual({
      stages: { [name]: { records: expect.any(Number), outputs: 6, dead_letters: 0 } },
    })
  }
  expect(existsSync(join(root, 'apart', 'plumbline.duckdb'))).toBe(false)
  const loaded = await plumbline(['run', '--until-idle', '--only', 'duckdb'], here('apart'))
  expect(loaded).toMatchObject({ code: 0, stdout: '', stderr: expect.stringMatching(/^run: [\d.]+ s\n$/) })
  expect(await funnel(here('apart'))).toEqual({ formed: 6 * GROUP_SIZE })
  expect(await plumblineOk(['verify'], here('apart'))).toBe('verify: passed\n')
})

test('a second run is told which process owns the tables; with --no-sink it shares the partitions', async () => {
  const names = ['sample-completions', 'score-completions', 'form-groups']
  const first = start(['run', '--policy', 'random-legal'], here('two'))
  await eventually(() => sql('select 1 as one', here('two')))
  const refused = await plumbline(['run', '--policy', 'random-legal'], here('two'))
  expect(refused).toMatchObject({ code: 1, stdout: '' })
  expect(refused.stderr).toContain(`is owned by process ${first.pid}`)
  expect(refused.stderr).toMatch(/\n {2}.*--no-sink\n$/)
  expect(refused.stderr.trimEnd().split('\n')).toHaveLength(2)

  const second = start(['run', '--policy', 'random-legal', '--no-sink'], here('two'))
  await eventually(() => names.every((name) => first.stderr().includes(`${name}: partitions `)))
  await generate('two', 60)
  await eventually(() => formed('two', 60))
  const left = await terminate(second)
  expect(left, left.stderr).toMatchObject({ code: 0 })
  await generate('two', 70)
  await eventually(() => formed('two', 70))
  const ended = await terminate(first)
  expect(ended, ended.stderr).toMatchObject({ code: 0 })

  const [by, also] = [recordsIn(ended), recordsIn(left)]
  expect((by['sample-completions'] ?? 0) + (also['sample-completions'] ?? 0)).toBe(70)
  for (const name of names) expect(also[name], left.stderr).toBeGreaterThan(0)
  expect(await funnel(here('two'))).toEqual({ formed: 70 * GROUP_SIZE })
  expect(await plumblineOk(['verify'], here('two'))).toBe('verify: passed\n')
})

test('while a run is stopped (Ctrl-Z), sql reports within seconds which process owns the tables and what to do', async () => {
  await generate('stopped', 2)
  const running = start(['run', '--policy', 'random-legal'], here('stopped'))
  await eventually(() => formed('stopped', 1), 60_000)
  // A terminal stops both: the process that computes, and the one that owns the tables.
  const owner = ownerOf('stopped')
  for (const pid of [running.pid, owner]) process.kill(pid, 'SIGSTOP')
  try {
    const asked = await plumbline(['sql', 'from funnel'], here('stopped'))
    expect([asked.code, asked.stderr]).toEqual([
      1,
      expect.stringMatching(`process ${owner}, which process ${running.pid} started[^]*continue or end it`),
    ])
  } finally {
    for (const pid of [owner, running.pid]) process.kill(pid, 'SIGCONT')
  }
  expect(await terminate(running)).toMatchObject({ code: 0 })
})
