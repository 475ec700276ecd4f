import { clockTicked } from '../../schemas/clock.ts'
import { encodeEvent } from '../../schemas/codec.ts'
import type { ClockDomain, Event } from '../../schemas/event.ts'
import { sourceId } from '../../schemas/identity.ts'
import type { Log, Producer } from '../log/log.ts'

/** Says in every partition, idle ones too, how far a clock has come. The only thing that fires timers. */
export class ClockSource {
  readonly #producer: Producer
  readonly #partitions: number

  private constructor(producer: Producer, partitions: number) {
    this.#producer = producer
    this.#partitions = partitions
  }

  /** `instance` tells the clocks of several processes apart: they tick side by side. */
  static async open(log: Log, partitions: number, instance: string): Promise<ClockSource> {
    return new ClockSource(await log.producer({ transactional_id: `source/clock/${instance}` }), partitions)
  }

  async tick(clock: ClockDomain, time: string): Promise<void> {
    const { key, headers, value } = encodeEvent(clockTicked, tickOf(clock, time))
    const transaction = this.#producer.begin()
    for (let partition = 0; partition < this.#partitions; partition++) {
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
