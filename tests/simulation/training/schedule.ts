import { random } from '../../../environments/tower/random.ts'
import { restored } from '../../../sinks/feed/restore.ts'
import { withoutSnapshots } from '../../../testing/feed-snapshots.ts'
import { Faults } from '../faults.ts'
import { standInForHost } from '../host-stand-ins.ts'
import type { RunSchedule, Schedule, ScheduleOptions } from '../schedule.ts'
import { Scheduler } from '../scheduler.ts'
import { VirtualTime } from '../virtual-time.ts'
import { CONSUMER, trainingInputsOf } from './inputs.ts'
import { type TrainingPlant, TrainingWorld } from './world.ts'

/** More than any schedule takes that makes progress. */
const MOST_STEPS = 20_000

/**
 * Runs the schedule of a seed: feeds and trainers of one consumer with faults for a while, then without until every group
 * is durable or dropped, then the last checks.
 */
export async function runTrainingSchedule(
  seed: string,
  { only, onStep }: ScheduleOptions = {},
  plant: TrainingPlant = {},
  onEnd: (world: TrainingWorld) => void = () => {},
): Promise<Schedule> {
  const time = new VirtualTime()
  const faults = new Faults(`training ${seed}`, only)
  const made: { world?: TrainingWorld } = {}
  const strike: ConstructorParameters<typeof Scheduler>[0]['strike'] = (kind, turn) =>
    made.world?.strike(kind, turn) ?? 'goes on'
  const scheduler = new Scheduler({ seed: `training ${seed}`, time, faults, strike, onStep })
  const world = new TrainingWorld({ seed, inputs: trainingInputsOf(seed), scheduler, faults, plant })
  made.world = world
  const putBack = standInForHost(time, random('simulation', 'training chance', seed).uniform, () => scheduler.running)
  try {
    await run(seed, world, scheduler, faults)
    onEnd(world)
    const { violations, book } = world
    for (const { topic, end } of endsOf(world)) scheduler.note(`${topic} ${end}`)
    return {
      ...{ seed, violations, faults: faults.injected, moods: book.happened, steps: scheduler.steps },
      ...{ virtual_ms: time.now_ms, digest: scheduler.digest() },
    }
  } finally {
    world.end()
    putBack()
  }
}

export const trainingWith =
  (plant: TrainingPlant = {}): RunSchedule =>
  (seed, options) =>
    runTrainingSchedule(seed, options, plant)

async function run(seed: string, world: TrainingWorld, scheduler: Scheduler, faults: Faults): Promise<void> {
  const draw = random('simulation', 'training length', seed)
  const until = async (done: () => boolean, what: string): Promise<void> => {
    while (!done() && world.violations.length === 0) {
      if (scheduler.steps > MOST_STEPS || !(await scheduler.step())) {
        world.violations.push(`${what} is not reached within ${scheduler.steps} steps: ${world.describe()}`)
      }
      world.book.look()
    }
  }
  world.begin()
  const stormy_steps = draw.integer(300, 2_000)
  await until(() => scheduler.steps >= stormy_steps || world.is_done, 'the end of the storm')
  faults.end()
  world.calm()
  await until(() => world.is_done, 'a fate of every group')
  if (world.violations.length > 0) return
  world.violations.push(...violationsAtEnd(world))
  world.end()
  if (world.violations.length === 0) await compareRestored(world)
}

/** What is inside the weights of the last checkpoint is what is durable; nothing that was dropped is. */
function violationsAtEnd({ book }: TrainingWorld): string[] {
  const found: string[] = []
  const of = (state: string) =>
    [...book.entries.values()].flatMap((entry) => (entry.state === state ? [entry.group_id] : [])).sort()
  const open = [...book.entries.values()].filter(({ state }) => state !== 'durable' && state !== 'dropped')
  if (open.length > 0) found.push(`expected every group durable or dropped, got ${JSON.stringify(open)}`)
  const inside = [...(book.chain.files.get(book.chain.last ?? '')?.weights ?? [])]
  const names = inside.map(([group]) => group).sort()
  if (names.join() !== of('durable').join())
    found.push(`expected [${of('durable')}] inside the weights, got [${names}]`)
  for (const [group, times] of inside)
    if (times !== 1) found.push(`group ${group} is inside the weights ${times} times`)
  return found
}

/** From a snapshot and from all events a feed is where the log is. */
async function compareRestored(world: TrainingWorld): Promise<void> {
  const { reading, book, violations } = world
  const report = (message: string) => void violations.push(`restoring reports: ${message}`)
  const options = { ...reading, report, visible_ms: 0 }
  try {
    const { state } = await restored(options, CONSUMER, book.state.number)
    const whole = await restored({ ...options, log: withoutSnapshots(reading.log) }, CONSUMER, book.state.number)
    const expected = JSON.stringify(book.state.stored())
    for (const [how, found] of [
      ['from a snapshot', state],
      ['from all events', whole.state],
    ] as const) {
      const got = JSON.stringify(found.stored())
      if (got !== expected) violations.push(`the state ${how}: expected ${expected}, got ${got}`)
    }
  } catch (error) {
    violations.push(`the consumer cannot be restored: ${error instanceof Error ? error.message : error}`)
  }
}

function endsOf({ broker }: TrainingWorld) {
  return broker
    .topics()
    .flatMap(({ name }) =>
      broker.partitions(name).map(({ end }, partition) => ({ topic: `${name}/${partition}`, end })),
    )
}
