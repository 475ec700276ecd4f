import type { Log } from '../infra/log/port/log.ts'
import { type Event, rowsOf } from '../schemas/declare/event.ts'
import { encodeEvent } from '../schemas/wire/codec.ts'
import { sourceId } from '../schemas/wire/identity.ts'
import { partitionOf } from '../schemas/wire/routing.ts'
import type { Emitted } from '../sources/source.ts'
import { PARTITIONS } from './tower-log.ts'

/** The same event with a new id and key. */
function renamed({ type, event }: Emitted, round: number): Emitted {
  const key = `${event.key}-${round}`
  const rows = rowsOf(event).map((row) => ({ ...row, [type.key]: key }))
  const data = Array.isArray(event.data) ? rows : rows[0]
  return { type, event: { ...event, id: sourceId([event.id, String(round)]), key, data } as Event }
}

/** Appends the same events again and again, each time with new ids and keys, until the values reach `bytes` bytes. */
export async function fillRenamed(log: Log, events: readonly Emitted[], bytes: number): Promise<void> {
  const producer = await log.producer({ transactional_id: 'fill' })
  let filled = 0
  for (let round = 0; filled < bytes; round++) {
    const transaction = producer.begin()
    for (const { type, event } of events.map((emitted) => renamed(emitted, round))) {
      const { key, headers, value } = encodeEvent(type, event)
      transaction.append(type.type, partitionOf(key, PARTITIONS), { key, headers, value })
      filled += value.byteLength
    }
    await transaction.commit()
  }
  await producer.close()
}
