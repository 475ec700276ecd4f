import { clockTicked } from '../../schemas/clock.ts'
import { encodeEvent } from '../../schemas/codec.ts'
import type { ClockDomain, Event } from '../../schemas/event.ts'
import { sourceId } from '../../schemas/identity.ts'
import { type Partitions, partitionsOf } from '../../schemas/partitions.ts'
import { FencedError, type Log, type Producer } from '../log/log.ts'

/** Says in every partition, idle ones too, how far a clock has come. The only thing that fires timers. */
export class ClockSource {
  readonly #open: () => Promise<Producer>
  readonly #partitions: Partitions
  #producer: Producer

  private constructor(open: () => Promise<Producer>, producer: Producer, partitions: Partitions) {
    this.#open = open
    this.#producer = producer
    this.#partitions = partitions
  }

  /** `instance` tells the clocks of several processes apart: they tick side by side. Nobody else may have it. */
  static async open(log: Log, partitions: Partitions, instance: string): Promise<ClockSource> {
    const open = () => log.producer({ transactional_id: `source/clock/${instance}` })
    return new ClockSource(open, await open(), partitions)
  }

  async tick(clock: ClockDomain, time: string): Promise<void> {
    try {
      await this.#say(clock, time)
    } catch (error) {
      if (!(error instanceof FencedError)) throw error
      // The id is this process's own, so it was the log that gave it up, e.g. a broker that waited too long for the end
      // of a transaction while the network was away. A tick that is said twice is one tick.
      await this.#producer.close()
      this.#producer = await this.#open()
      await this.#say(clock, time)
    }
  }

  async #say(clock: ClockDomain, time: string): Promise<void> {
    const { key, headers, value } = encodeEvent(clockTicked, tickOf(clock, time))
    const transaction = this.#producer.begin()
    for (let partition = 0; partition < partitionsOf(this.#partitions, clockTicked.type); partition++) {
      transaction.append(clockTicked.type, partition, { key, headers, value })
    }
    await transaction.commit()
  }

  async close(): Promise<void> {
    await this.#producer.close()
  }
}

function tickOf(clock: ClockDomain, time: string): Event<typeof clockTicked> {
  const tick = `${clock}/${time}`
  return {
    id: sourceId(['clock', tick]),
    source: '/sources/clock',
    type: clockTicked.type,
    version: clockTicked.version,
    time,
    key: tick,
    clock,
    causes: [],
    data: { tick, clock, time },
  }
}
