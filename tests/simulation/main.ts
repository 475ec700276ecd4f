import { parseArgs } from 'node:util'
import { describeFailure, runCampaign } from './campaign.ts'
import { PLANTED_BUGS } from './planted-bugs.ts'
import { PLANTED_TRAINING_BUGS } from './training/planted-bugs.ts'
import { trainingWith } from './training/schedule.ts'

/**
 * npm run test:simulation -- --seed S --schedules N
 *
 * --seed      the first schedule's; those after it count up from there (1)
 * --schedules how many (1)
 * --only      numbers of the faults that are injected, e.g. 2,5; 0: none
 * --training  feeds and trainers, in place of the pipeline
 * --planted   a bug of planted-bugs.ts, with --training of training/planted-bugs.ts
 * --trace     every step, on standard output
 * --digest    a line for each schedule: seed and digest, equal for equal schedules
 */
const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    schedules: { type: 'string', default: '1' },
    only: { type: 'string' },
    training: { type: 'boolean', default: false },
    planted: { type: 'string', default: '' },
    trace: { type: 'boolean', default: false },
    digest: { type: 'boolean', default: false },
  },
})

const { planted, training } = values
const bugs = Object.keys(training ? PLANTED_TRAINING_BUGS : PLANTED_BUGS)
if (planted !== '' && !bugs.includes(planted)) {
  throw new RangeError(`--planted: expected one of ${bugs.join('; ')}, got ${planted}`)
}
const options = {
  only: values.only === undefined ? undefined : new Set(values.only.split(',').map(Number)),
  conduct: training ? undefined : PLANTED_BUGS[planted],
}
const how = training ? { run: trainingWith(PLANTED_TRAINING_BUGS[planted]), flags: ' --training' } : {}
const began_ms = performance.now()
const { failed, faults, moods, ...sums } = await runCampaign({
  ...options,
  ...how,
  seed: whole('seed', values.seed),
  schedules: whole('schedules', values.schedules),
  until_failure: true,
  onStep: values.trace ? (line) => process.stdout.write(line) : undefined,
  onSchedule: ({ seed, digest }) => {
    if (values.digest) process.stdout.write(`${seed} ${digest}\n`)
  },
})
const minutes = (performance.now() - began_ms) / 60_000
const cpu_minutes = process.cpuUsage().user / 60e6
for (const schedule of failed) process.stdout.write(`${await describeFailure(schedule, options, planted, how)}\n`)
if (!values.digest) {
  const list = (counts: ReadonlyMap<string, number>) =>
    [...counts].map(([name, count]) => `${count} ${name}`).join(', ') || 'none'
  process.stdout.write(
    [
      `${sums.schedules} schedules, ${failed.length} failed; ${sums.steps} steps, ${Math.round(sums.virtual_ms / 1_000)} virtual seconds`,
      `faults: ${list(faults)}`,
      `${training ? 'training' : 'the policy'}: ${list(moods)}`,
      `${Math.round(sums.schedules / minutes)} schedules a minute, ${Math.round(sums.schedules / cpu_minutes)} a minute of processor time`,
      '',
    ].join('\n'),
  )
}
process.exitCode = failed.length === 0 ? 0 : 1

function whole(option: string, value: string): number {
  const number = Number(value)
  if (!Number.isSafeInteger(number) || number < 0)
    throw new RangeError(`--${option}: expected a whole number, got ${value}`)
  return number
}
