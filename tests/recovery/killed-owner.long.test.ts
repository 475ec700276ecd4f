import { expect, test } from 'vitest'
import { readOwner } from '../../sinks/duckdb/owner-record.ts'
import { eventually, sharedFolder, sql, start } from '../cli/plumbline.ts'
import { ownerKills } from './owner-kills.ts'

const LIMIT = { timeout: 600_000 }

/** The small version of `node guard.mjs --exec tests/recovery/owner-kills-main.ts --kills 100`. */
test(
  'the process that owns the tables, ended ten times by signals and queries: no row is lost or duplicated, the lag is gone within 10 s, no worker stops',
  LIMIT,
  async () => {
    const cwd = await sharedFolder()
    const { breaches, recoveries_ms } = await ownerKills({ kills: 10, seed: '3', cwd, report: () => {} })
    expect(breaches).toEqual([])
    expect(recoveries_ms).toHaveLength(10)
  },
)

test('when a run is killed, the process that owns its tables ends too, and the file is free', LIMIT, async () => {
  const cwd = await sharedFolder()
  const running = start(['run'], { cwd })
  await eventually(() => sql('select 1 as one', { cwd }))
  const owner = readOwner(`${cwd}/data/plumbline.duckdb`)
  expect(owner).toMatchObject({ started_by: running.pid })
  running.child.kill('SIGKILL')
  await running.ended
  await eventually(() => !isAlive(owner?.pid as number), 10_000)
  expect(await sql('select 1 as one', { cwd })).toEqual([{ one: 1 }])
  const again = start(['run', '--until-idle'], { cwd })
  expect(await again.ended).toMatchObject({ code: 0 })
})

test('one Ctrl-C of a terminal reaches both processes, and the work in progress is loaded', LIMIT, async () => {
  const cwd = await sharedFolder()
  const running = start(['run'], { cwd })
  await eventually(() => sql('select 1 as one', { cwd }))
  const owner = readOwner(`${cwd}/data/plumbline.duckdb`)?.pid as number
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(owner, signal)
  expect(await sql('select 1 as one', { cwd })).toEqual([{ one: 1 }])
  for (const pid of [owner, running.pid]) process.kill(pid, 'SIGINT')
  const ended = await running.ended
  expect(ended, ended.stderr).toMatchObject({ code: 0, signal: null })
  expect(ended.stderr).not.toContain('has ended')
  expect(isAlive(owner)).toBe(false)
})

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
