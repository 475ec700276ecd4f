import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { describeFailure, runCampaign } from './campaign.ts'
import { FAULTS } from './fault-kinds.ts'
import { PLANTED_BUGS } from './planted-bugs.ts'
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

/** Found only after some hundreds of schedules; seed 229 was the first. */
const RARE = 'results of calls without a fence'

describe('finds a planted bug:', () => {
  const found_soon = Object.entries(PLANTED_BUGS).filter(([name]) => name !== RARE)
  test.each(found_soon)('%s', async (_name, conduct) => {
    const { failed } = await runCampaign({ seed: 1, schedules: 300, until_failure: true, conduct })
    expect(failed).toHaveLength(1)
  })

  test('and reports what broke, what had happened, and how to repeat it', async () => {
    const name = 'positions committed before the outputs'
    const conduct = PLANTED_BUGS[name]
    const { failed } = await runCampaign({ seed: 1, schedules: 300, until_failure: true, conduct })
    const [schedule] = failed
    if (schedule === undefined) throw new Error('the planted bug was not found')
    const told = await describeFailure(schedule, { conduct }, name)
    expect(told).toContain(`npm run test:simulation -- --seed ${schedule.seed} --planted "${name}"`)
    // None are named where every fault of the schedule is needed.
    const only = /--only ([\d,]+)/.exec(told)?.[1]
    const chosen = only === undefined ? {} : { only: new Set(only.split(',').map(Number)) }
    const again = await runSchedule(schedule.seed, { conduct, ...chosen })
    expect(again.violations).not.toEqual([])
    expect(again.faults.length).toBeLessThanOrEqual(schedule.faults.length)
  })
})
