import { type Random, random } from '../../environments/tower/random.ts'
import type { Log } from '../../infra/log/log.ts'
import { ClockSource } from '../../infra/runtime/clock-source.ts'
import { encodeEvent } from '../../schemas/codec.ts'
import type { ClockDomain, Event, EventType } from '../../schemas/event.ts'
import { completionsSampled } from '../../schemas/policy.ts'
import { partitionOf } from '../../schemas/routing.ts'
import type { Inputs } from './inputs.ts'
import { vocabulary } from './stages.ts'
import type { World } from './world.ts'

const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/** Until it works: what it is not sure of it does again, so an event may lie in the log twice. */
async function again(work: () => Promise<void>): Promise<void> {
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof Error) || !/simulated|fenced|producer/.test(error.message)) throw error
      await wait(20)
    }
  }
}

/** The sources of a schedule, each of which goes on after a kill where it knows to have been. */
export class Sources {
  readonly #world: World
  readonly #inputs: Inputs
  readonly #random: Random
  #running = 0

  constructor(world: World, inputs: Inputs, seed: string) {
    this.#world = world
    this.#inputs = inputs
    this.#random = random('simulation', 'sources', seed)
  }

  get isDone(): boolean {
    return this.#running === 0
  }

  /** Says everything of the inputs, and meanwhile how late it is. */
  begin(): void {
    const { events, partitions, garbage } = this.#inputs
    let said = 0
    this.#start('source', async (log) => {
      while (said < events.length) {
        const some = events.slice(said, said + this.#random.integer(1, 4))
        await wait(this.#random.integer(0, 60))
        await again(() => append(log, some, partitions))
        said += some.length
      }
      if (garbage) await again(() => appendGarbage(log))
    })
    const ticks: ('wall' | string)[] = this.#inputs.ticks.flatMap((time) => ['wall', time])
    let ticked = 0
    this.#start('clock', async (log) => {
      while (ticked < ticks.length) {
        await wait(this.#random.integer(0, 200))
        const time = ticks[ticked] as string
        await again(() => tick(log, partitions, time))
        ticked++
      }
    })
  }

  /** Both clocks reach a time; the wall clock is set to it first. */
  reach(times: readonly string[]): void {
    let ticked = 0
    this.#start('clock', async (log) => {
      while (ticked < times.length) {
        await again(() => tick(log, this.#inputs.partitions, times[ticked] as string))
        await again(() => tick(log, this.#inputs.partitions, times[ticked] as string, 'wall'))
        ticked++
      }
    })
  }

  #start(name: string, code: (log: Log) => Promise<void>): void {
    this.#running++
    this.#world.startSource(name, code, () => {
      this.#running--
    })
  }
}

async function append(log: Log, events: readonly Event[], partitions: number): Promise<void> {
  const producer = await log.producer({ transactional_id: 'source' })
  const transaction = producer.begin()
  for (const event of events) {
    const { key, headers, value } = encodeEvent(vocabulary.get(event.type) as EventType, event)
    transaction.append(event.type, partitionOf(event.key, partitions), { key, headers, value })
  }
  await transaction.commit()
}

/** What nobody can read. */
async function appendGarbage(log: Log): Promise<void> {
  const producer = await log.producer({ transactional_id: 'source' })
  const transaction = producer.begin()
  transaction.append(completionsSampled.type, 0, { key: 'garbage', headers: [], value: Buffer.from('garbage') })
  await transaction.commit()
}

/** `wall` as a time: what the wall clock shows. */
async function tick(log: Log, partitions: number, time: string, on?: ClockDomain): Promise<void> {
  const source = await ClockSource.open(log, partitions, 'simulated')
  const is_wall = on === 'wall' || time === 'wall'
  await source.tick(is_wall ? 'wall' : 'virtual', time === 'wall' ? new Date(Date.now()).toISOString() : time)
}
