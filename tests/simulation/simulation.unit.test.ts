import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { runCampaign } from './campaign.ts'
import { FAULTS } from './fault-kinds.ts'
import { runSchedule } from './schedule.ts'
import { MOODS } from './simulated-policy.ts'

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url))
const run = (...args: string[]) =>
  execFileSync(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, ...args], { encoding: 'utf8' })

describe('a seed is a schedule', () => {
  test('the same steps and the same log, repeated in this process and in another one', async () => {
    const first: string[] = []
    await runCampaign({ seed: 1, schedules: 12, onSchedule: ({ seed, digest }) => first.push(`${seed} ${digest}\n`) })
    const again: string[] = []
    for (const line of [...first].reverse()) {
      const { seed, digest } = await runSchedule(line.split(' ')[0] as string)
      again.unshift(`${seed} ${digest}\n`)
    }
    expect(again).toEqual(first)
    expect(run('--seed', '1', '--schedules', '12', '--digest')).toBe(first.join(''))
    expect(new Set(first).size).toBe(first.length)
  })

  test('with only the chosen faults when some are named', async () => {
    const { faults } = await runSchedule('19')
    expect(faults.length).toBeGreaterThan(3)
    const [first] = faults
    const fewer = await runSchedule('19', { only: new Set([1]) })
    expect(fewer.faults).toEqual([first])
  })

  test('leaves the clocks and timers of the host as they were', async () => {
    const before = [setTimeout, clearTimeout, Date.now, Math.random, performance.now]
    await runSchedule('3')
    expect([setTimeout, clearTimeout, Date.now, Math.random, performance.now]).toEqual(before)
  })
})

test('every kind of fault and every mood of the policy occurs, and no schedule gets stuck', async () => {
  const { faults, moods, steps, schedules } = await runCampaign({ seed: 1, schedules: 150 })
  expect([...faults.keys()].sort()).toEqual(Object.keys(FAULTS).sort())
  expect([...moods.keys()].sort()).toEqual([...MOODS].sort())
  expect(steps / schedules).toBeGreaterThan(200)
})
