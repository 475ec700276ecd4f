import type { ClockDomain, Event } from '../../../schemas/declare/event.ts'
import { clockTicked } from '../../../schemas/events/clock.ts'
import { encodeEvent } from '../../../schemas/wire/codec.ts'
import { sourceId } from '../../../schemas/wire/identity.ts'
import { type Partitions, partitionsOf } from '../../../schemas/wire/partitions.ts'
import { CLOCK_SOURCE } from '../../ce-source.ts'
import type { Log } from '../../log/port/log.ts'
import { ResumingProducer } from './resuming-producer.ts'

/** Appends the time of a clock to every partition, idle ones too. Only these ticks fire timers. */
export class ClockSource {
  readonly #producer: ResumingProducer
  readonly #partitions: Partitions

  private constructor(producer: ResumingProducer, partitions: Partitions) {
    this.#producer = producer
    this.#partitions = partitions
  }

  /** @param instance unique per process, so that the clocks of several processes can tick concurrently */
  static async open(log: Log, partitions: Partitions, instance: string): Promise<ClockSource> {
    const id = `source/clock/${instance}`
    return new ClockSource(await ResumingProducer.open(log, { transactional_id: id, group: id }), partitions)
  }

  async tick(clock: ClockDomain, time: string): Promise<void> {
    const { key, headers, value } = encodeEvent(clockTicked, tickOf(clock, time))
    // No positions: ticks are idempotent, so a repeated append does no harm.
    await this.#producer.commit((transaction) => {
      for (let partition = 0; partition < partitionsOf(this.#partitions, clockTicked.type); partition++) {
        transaction.append(clockTicked.type, partition, { key, headers, value })
      }
    }, [])
  }

  async close(): Promise<void> {
    await this.#producer.close()
  }
}

function tickOf(clock: ClockDomain, time: string): Event<typeof clockTicked> {
  const tick = `${clock}/${time}`
  return {
    id: sourceId(['clock', tick]),
    source: CLOCK_SOURCE,
    type: clockTicked.type,
    version: clockTicked.version,
    time,
    key: tick,
    clock,
    causes: [],
    data: { tick, clock, time },
  }
}
