import { createHash } from 'node:crypto'
import { random } from '../../environments/tower/random.ts'
import type { MemoryBroker } from '../../infra/log/memory/broker.ts'
import { type Fault, Faults } from './faults.ts'
import { standInForHost } from './host-stand-ins.ts'
import { BEYOND_ENDS_MS, ENDS, inputsOf, PICTURE_BYTES } from './inputs.ts'
import { violationsAfterReset, violationsAtEnd, violationsAtRest } from './invariants.ts'
import { haveReadRemade, readersOfRemade, remakeTopic, resetReaders, violationsOfRemade } from './remade-topic.ts'
import { Scheduler } from './scheduler.ts'
import { type Conduct, RIGHT } from './simulated-log.ts'
import { Sources } from './sources.ts'
import { VirtualTime } from './virtual-time.ts'
import { Witness } from './witness.ts'
import { World } from './world.ts'

export interface Schedule {
  readonly seed: string
  /** Empty: every guarantee held. */
  readonly violations: readonly string[]
  /** In the order in which they happened. */
  readonly faults: readonly Fault[]
  /** What else happened, and how often: the moods of the policy, or events of training. */
  readonly moods: ReadonlyMap<string, number>
  readonly steps: number
  readonly virtual_ms: number
  /** Digest of every step and of the log's final content; equal for equal schedules. */
  readonly digest: string
}

export interface ScheduleOptions {
  /** Numbers of the faults that are injected; all when left out. */
  readonly only?: ReadonlySet<number> | undefined
  /** A planted bug. */
  readonly conduct?: ((broker: MemoryBroker) => Conduct) | undefined
  readonly onStep?: ((line: string) => void) | undefined
}

export type RunSchedule = (seed: string, options: ScheduleOptions) => Promise<Schedule>

/** More than any schedule takes that makes progress. */
const MOST_STEPS = 60_000
/** Share of schedules at whose end a topic is deleted and created again. */
const REMADE_SHARE = 0.1

/** Runs the schedule of a seed: faults for a while, then none until everything is at rest, then the checks. */
export async function runSchedule(seed: string, options: ScheduleOptions = {}): Promise<Schedule> {
  const time = new VirtualTime()
  const faults = new Faults(seed, options.only)
  const inputs = inputsOf(seed)
  const made: { world?: World } = {}
  const strike: ConstructorParameters<typeof Scheduler>[0]['strike'] = (kind, turn) =>
    made.world?.strike(kind, turn) ?? 'goes on'
  const scheduler = new Scheduler({ seed, time, faults, strike, onStep: options.onStep })
  const witness = new Witness()
  const onAsked = witness.onAsked.bind(witness)
  const world = new World({ seed, inputs, scheduler, faults, conduct: options.conduct ?? (() => RIGHT), onAsked })
  made.world = world
  witness.world = world
  const putBack = standInForHost(time, random('simulation', 'chance', seed).uniform, () => scheduler.running)
  try {
    const violations = await run(seed, world, scheduler, faults)
    return {
      seed,
      violations,
      faults: faults.injected,
      moods: world.policy.moods,
      steps: scheduler.steps,
      virtual_ms: time.now_ms,
      digest: scheduler.digest(),
    }
  } finally {
    putBack()
  }
}

async function run(seed: string, world: World, scheduler: Scheduler, faults: Faults): Promise<readonly string[]> {
  const draw = random('simulation', 'length', seed)
  const sources = new Sources(world, world.inputs, seed)
  const until = async (done: () => boolean, what: string): Promise<boolean> => {
    while (!done()) {
      if (world.violations.length > 0) return false
      if (scheduler.steps > MOST_STEPS || !(await scheduler.step())) {
        world.violations.push(`${what} is not reached within ${scheduler.steps} steps: ${world.describe()}`)
        return false
      }
    }
    return world.violations.length === 0
  }
  const at_rest = () => sources.isDone && world.isIdle()

  await world.blobs.put(PICTURE_BYTES, 'image/png')
  world.begin()
  sources.begin()
  const stormy_steps = draw.integer(100, 600)
  await until(() => scheduler.steps >= stormy_steps, 'the end of the storm')
  faults.end()
  world.policy.heal()
  if (!(await until(at_rest, 'rest'))) return world.violations
  // Rebuilding is as slow as all the rest together, so do it only sometimes.
  const with_rebuild = draw.uniform() < 0.3
  await look(world, () => violationsAtRest(world, with_rebuild))
  if (world.violations.length > 0) return world.violations
  scheduler.time.setWall(BEYOND_ENDS_MS)
  sources.reach(ENDS)
  if (!(await until(at_rest, 'rest after the deadlines'))) return world.violations
  world.end()
  if (!(await until(() => world.workers.size === 0, 'the end of every worker'))) return world.violations
  await look(world, () => violationsAtEnd(world))
  if (world.violations.length > 0) return world.violations
  if (random('simulation', 'remade', seed).uniform() < REMADE_SHARE) await remake(world, until)
  scheduler.note(contentOf(world))
  return world.violations
}

/** Deletes a topic and creates it again: its readers must stop, and start over after a reset. */
async function remake(world: World, until: (done: () => boolean, what: string) => Promise<boolean>): Promise<void> {
  await remakeTopic(world)
  const readers = readersOfRemade(world)
  const former = haveReadRemade(world)
  world.startAlone(former)
  await until(
    () => world.workers.size === 0 || former.some((one) => world.isRead([one])),
    'the end of who reads a topic made again',
  )
  world.violations.push(...violationsOfRemade(world))
  if (world.violations.length > 0) return
  await resetReaders(world)
  world.startAlone(readers)
  if (!(await until(() => world.isRead(readers), 'rest after the reset'))) return
  world.end()
  if (!(await until(() => world.workers.size === 0, 'the end of every worker'))) return
  await look(world, () => violationsAfterReset(world))
}

/** A log that cannot be read is a violation too. */
async function look(world: World, violations: () => Promise<string[]>): Promise<void> {
  try {
    world.violations.push(...(await violations()))
  } catch (error) {
    world.violations.push(`the log cannot be read again: ${error instanceof Error ? error.message : error}`)
  }
}

/** A hash of every record of the log. */
function contentOf({ broker }: World): string {
  const hash = createHash('sha256')
  for (const { name } of broker.topics()) {
    for (const { records, end } of broker.partitions(name)) {
      hash.update(`${name} ${end}\n`)
      for (const { key, headers, value, offset } of records) {
        hash.update(`${offset} ${key} ${JSON.stringify(headers)}\n`)
        if (value !== null) hash.update(value)
      }
    }
  }
  return hash.digest('hex')
}
