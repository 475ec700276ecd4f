import { describe, expect, test } from 'vitest'
import { describeFailure, runCampaign } from '../campaign.ts'
import { PLANTED_TRAINING_BUGS } from './planted-bugs.ts'
import { trainingWith } from './schedule.ts'

describe('finds a planted bug of a feed or a trainer within the seeds that are run:', () => {
  test.each(Object.entries(PLANTED_TRAINING_BUGS))('%s', { timeout: 120_000 }, async (_name, plant) => {
    const { failed } = await runCampaign({ seed: 1, schedules: 100, until_failure: true, run: trainingWith(plant) })
    expect(failed).toHaveLength(1)
  })

  test('and tells how to repeat it', { timeout: 120_000 }, async () => {
    const name = 'the events of a call in two transactions'
    const run = trainingWith(PLANTED_TRAINING_BUGS[name])
    const { failed } = await runCampaign({ seed: 1, schedules: 100, until_failure: true, run })
    const [schedule] = failed
    if (schedule === undefined) throw new Error('the planted bug was not found')
    const told = await describeFailure(schedule, {}, name, { run, flags: ' --training' })
    expect(told).toContain(`npm run test:simulation -- --training --seed ${schedule.seed} --planted "${name}"`)
    const again = await run(schedule.seed, {})
    expect(again).toEqual(schedule)
  })
})
