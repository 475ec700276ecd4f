import { type Random, random } from '../../environments/tower/random.ts'
import type { Blobs } from '../../infra/blobs/blobs.ts'
import type { Log } from '../../infra/log/port/log.ts'
import type { ClockDomain, Event, EventType } from '../../schemas/declare/event.ts'
import { completionsSampled } from '../../schemas/events/policy.ts'
import { encodeEvent } from '../../schemas/wire/codec.ts'
import { partitionOf } from '../../schemas/wire/routing.ts'
import { Clock } from '../../sources/clock.ts'
import type { Inputs } from './inputs.ts'
import { vocabulary } from './stages.ts'
import type { World } from './world.ts'

const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/** Repeats until success. It also repeats an append whose result is unclear, so an event may be in the log twice. */
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

/** The sources of a schedule. After a kill, each resumes after its last acknowledged append. */
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

  /** Appends all inputs, and meanwhile ticks of both clocks. */
  begin(): void {
    const { events, partitions, garbage } = this.#inputs
    let emitted = 0
    this.#start('source', async (log, blobs) => {
      while (emitted < events.length) {
        const some = events.slice(emitted, emitted + this.#random.integer(1, 4))
        await wait(this.#random.integer(0, 60))
        await again(() => append({ log, blobs }, some, partitions))
        emitted += some.length
      }
      if (garbage) await again(() => appendGarbage(log))
    })
    const ticks: ('wall' | string)[] = this.#inputs.ticks.flatMap((time) => ['wall', time])
    let ticked = 0
    this.#start('clock', async (log, blobs) => {
      while (ticked < ticks.length) {
        await wait(this.#random.integer(0, 200))
        const time = ticks[ticked] as string
        await again(() => tick({ log, blobs, partitions }, time))
        ticked++
      }
    })
  }

  /** Appends a tick of both clocks at each of these times. The caller has set the wall clock beyond them. */
  reach(times: readonly string[]): void {
    let ticked = 0
    this.#start('clock', async (log, blobs) => {
      const on = { log, blobs, partitions: this.#inputs.partitions }
      while (ticked < times.length) {
        await again(() => tick(on, times[ticked] as string))
        await again(() => tick(on, times[ticked] as string, 'wall'))
        ticked++
      }
    })
  }

  #start(name: string, code: (log: Log, blobs: Blobs) => Promise<void>): void {
    this.#running++
    this.#world.startSource(name, code, () => {
      this.#running--
    })
  }
}

async function append(
  { log, blobs }: { log: Log; blobs: Blobs },
  events: readonly Event[],
  partitions: number,
): Promise<void> {
  const producer = await log.producer({ transactional_id: 'source' })
  const transaction = producer.begin()
  for (const event of events) {
    const { key, headers, value, blobs: columns } = encodeEvent(vocabulary.get(event.type) as EventType, event)
    for (const { bytes, ref } of columns) await blobs.put(bytes, ref.media_type)
    transaction.append(event.type, partitionOf(event.key, partitions), { key, headers, value })
  }
  await transaction.commit()
}

/** Appends a record that cannot be decoded. */
async function appendGarbage(log: Log): Promise<void> {
  const producer = await log.producer({ transactional_id: 'source' })
  const transaction = producer.begin()
  transaction.append(completionsSampled.type, 0, { key: 'garbage', headers: [], value: Buffer.from('garbage') })
  await transaction.commit()
}

/** @param time `wall` for the current time of the wall clock */
async function tick(
  on: { readonly log: Log; readonly blobs: Blobs; readonly partitions: number },
  time: string,
  domain?: ClockDomain,
): Promise<void> {
  const clock = Clock.open(on, 'simulated')
  const is_wall = domain === 'wall' || time === 'wall'
  await clock.tick(is_wall ? 'wall' : 'virtual', time === 'wall' ? new Date(Date.now()).toISOString() : time)
  await clock.close()
}
