import { clockTicked } from '../../schemas/clock.ts'
import { encodeEvent } from '../../schemas/codec.ts'
import type { ClockDomain, Event } from '../../schemas/event.ts'
import { sourceId } from '../../schemas/identity.ts'
import type { Log } from '../log/log.ts'

/** Says in every partition, idle ones too, that a clock has come to `time`. The only thing that fires timers. */
export async function appendTick(log: Log, partitions: number, clock: ClockDomain, time: string): Promise<void> {
  const tick = `${clock}/${time}`
  const event: Event<typeof clockTicked> = {
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
  const { key, headers, value } = encodeEvent(clockTicked, event)
  const producer = await log.producer({ transactional_id: 'source/clock' })
  try {
    const transaction = producer.begin()
    for (let partition = 0; partition < partitions; partition++) {
      transaction.append(clockTicked.type, partition, { key, headers, value })
    }
    await transaction.commit()
  } finally {
    await producer.close()
  }
}
