import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { DROP_REASONS, LEASE_ENDS, ROLLED_BACK_FROM, TRAINING_EVENTS } from '../../../schemas/events/training.ts'
import { runCampaign } from '../campaign.ts'
import { FAULTS } from '../fault-kinds.ts'
import { trainingWith } from './schedule.ts'

const MAIN = fileURLToPath(new URL('../main.ts', import.meta.url))
/** A simulated trainer cannot meet it: it reads neither tokens nor rewards, and retention removes nothing. */
const ELSEWHERE = ['unsupported_token', 'expired_unread', 'no_variance']
const OTHER_TESTS = ['training.consumer_retired', 'training.offsets_expired']

test('a seed is a schedule of training, also in another process', async () => {
  const lines: string[] = []
  const onSchedule = ({ seed, digest }: { seed: string; digest: string }) => lines.push(`${seed} ${digest}\n`)
  await runCampaign({ seed: 1, schedules: 12, run: trainingWith(), onSchedule })
  const args = ['--disable-warning=ExperimentalWarning', MAIN, '--training', '--schedules', '12', '--digest']
  expect(execFileSync(process.execPath, args, { encoding: 'utf8' })).toBe(lines.join(''))
  expect(new Set(lines).size).toBe(lines.length)
})

test('every training event, end of a lease, drop, roll-back and kind of fault occurs', async () => {
  const { faults, moods } = await runCampaign({ seed: 1, schedules: 100, run: trainingWith() })
  expect([...faults.keys()].sort()).toEqual(Object.keys(FAULTS).sort())
  const expected = [
    ...TRAINING_EVENTS.map(({ type }) => type).filter((type) => !OTHER_TESTS.includes(type)),
    ...LEASE_ENDS.map((reason) => `leases that ended: ${reason}`),
    ...DROP_REASONS.filter((reason) => !ELSEWHERE.includes(reason)).map((reason) => `drops: ${reason}`),
    ...ROLLED_BACK_FROM.map((was) => `roll-backs: ${was}`),
  ]
  expect([...moods.keys()].sort()).toEqual(expected.sort())
})
