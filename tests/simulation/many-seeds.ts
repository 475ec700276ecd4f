import { expect, test } from 'vitest'
import { describeFailure, runCampaign } from './campaign.ts'
import type { RunSchedule } from './schedule.ts'

const EACH = 50

/** As what a seed is run, and the options that say so. */
interface HowToRun {
  readonly run?: RunSchedule
  readonly flags?: string
}

/** Tests that run the schedules of these seeds, a few in each test so that a slow machine finishes it in time. */
export function schedulesKeepEveryPromise(first: number, last: number, how: HowToRun = {}): void {
  for (let seed = first; seed <= last; seed += EACH) {
    test(`seeds ${seed} to ${seed + EACH - 1}`, async () => {
      const { schedules, failed } = await runCampaign({ seed, schedules: EACH, until_failure: true, ...how })
      const told = await Promise.all(failed.map((schedule) => describeFailure(schedule, {}, '', how)))
      expect(told.join('\n')).toBe('')
      expect(schedules).toBe(EACH)
    })
  }
}
