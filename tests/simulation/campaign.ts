import { FAULTS } from './fault-kinds.ts'
import { type RunSchedule, runSchedule, type Schedule, type ScheduleOptions } from './schedule.ts'
import { shrink } from './shrink.ts'

/** Many schedules in a row, each with its own seed. */
export interface Campaign {
  readonly schedules: number
  readonly steps: number
  readonly virtual_ms: number
  /** How often each kind of fault, and each mood of the policy, occurred. */
  readonly faults: ReadonlyMap<string, number>
  readonly moods: ReadonlyMap<string, number>
  readonly failed: readonly Schedule[]
}

export interface CampaignOptions extends ScheduleOptions {
  /** Seed of the first schedule; each later one is one higher. */
  readonly seed: number
  readonly schedules: number
  /** Stop at the first schedule that breaks a guarantee. */
  readonly until_failure?: boolean
  /** What a seed is run as; default: the pipeline. */
  readonly run?: RunSchedule
  readonly onSchedule?: (schedule: Schedule) => void
}

export async function runCampaign(options: CampaignOptions): Promise<Campaign> {
  const { seed, schedules, until_failure = false, onSchedule, run = runSchedule, ...each } = options
  const faults = new Map<string, number>()
  const moods = new Map<string, number>()
  const failed: Schedule[] = []
  const sum = { schedules: 0, steps: 0, virtual_ms: 0 }
  for (let at = 0; at < schedules; at++) {
    const schedule = await run(String(seed + at), each)
    sum.schedules++
    sum.steps += schedule.steps
    sum.virtual_ms += schedule.virtual_ms
    for (const { kind } of schedule.faults) faults.set(kind, (faults.get(kind) ?? 0) + 1)
    for (const [mood, count] of schedule.moods) moods.set(mood, (moods.get(mood) ?? 0) + count)
    if (schedule.violations.length > 0) failed.push(schedule)
    onSchedule?.(schedule)
    if (until_failure && failed.length > 0) break
  }
  return { ...sum, faults, moods, failed }
}

/** Describes a failed schedule for a person: what broke, which faults preceded it, and how to repeat it. */
export async function describeFailure(
  failed: Schedule,
  options: ScheduleOptions,
  planted = '',
  { run = runSchedule, flags = '' }: { readonly run?: RunSchedule; readonly flags?: string } = {},
): Promise<string> {
  const smallest = await shrink(failed, options, run)
  const only = smallest.faults.map(({ number }) => number).join(',') || '0'
  const bug = planted === '' ? '' : ` --planted "${planted}"`
  return [
    `Schedule ${failed.seed} breaks ${failed.violations.length === 1 ? 'a promise' : `${failed.violations.length} promises`}:`,
    ...failed.violations.slice(0, 5).map((violation) => `  ${violation}`),
    `Its ${failed.faults.length} faults, in order:`,
    ...linesOf(failed),
    `Run it again:  npm run test:simulation --${flags} --seed ${failed.seed}${bug} --trace`,
    ...(smallest === failed
      ? []
      : [
          `${smallest.faults.length === 1 ? 'One of them is' : `${smallest.faults.length} of them are`} enough (${smallest.violations[0]}):`,
          ...linesOf(smallest),
          `Run that again:  npm run test:simulation --${flags} --seed ${failed.seed}${bug} --only ${only} --trace`,
        ]),
  ].join('\n')
}

function linesOf({ faults }: Schedule): string[] {
  return faults.map(
    ({ number, kind, at_ms, who, what }) => `  ${number}. at ${at_ms} ms ${who} (${what}) ${FAULTS[kind]} [${kind}]`,
  )
}
