import type { RunSchedule, Schedule, ScheduleOptions } from './schedule.ts'

/**
 * Removes one fault after another, the last first, as long as the schedule still breaks a guarantee. Later steps may
 * differ after a removal, but the result is a failing schedule nevertheless.
 */
export async function shrink(failed: Schedule, options: ScheduleOptions, run: RunSchedule): Promise<Schedule> {
  let smallest = failed
  for (let before = Number.POSITIVE_INFINITY; smallest.faults.length < before; ) {
    before = smallest.faults.length
    for (const { number } of [...smallest.faults].reverse()) {
      const kept = smallest.faults.map((fault) => fault.number).filter((other) => other !== number)
      const tried = await run(failed.seed, { ...options, only: new Set(kept) })
      if (tried.violations.length > 0 && tried.faults.length < smallest.faults.length) smallest = tried
    }
  }
  return smallest
}
