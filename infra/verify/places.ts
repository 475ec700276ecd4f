import type { Damage, Log, LogRecord } from '../log/port/log.ts'
import { RecordDamagedError } from '../log/port/log.ts'
import { readRange } from '../runtime/internal/json-records.ts'

export const placeOf = ({ topic, partition, offset }: Pick<LogRecord, 'topic' | 'partition' | 'offset'>) =>
  `${topic} partition ${partition} offset ${offset}`

/** The damaged offsets as text, with the last one included. */
export const damagedPlace = ({ topic, partition, from, to }: Damage) =>
  `${topic} partition ${partition} offset${to - from > 1n ? 's' : ''} ${from}${to - from > 1n ? ` to ${to - 1n}` : ''}`

/** Every readable record of a partition. Damaged ranges are reported to `onDamage` and skipped. */
export async function* readPast(
  log: Log,
  topic: string,
  partition: number,
  onDamage: (damage: Damage) => void,
  until?: bigint,
): AsyncGenerator<LogRecord> {
  const end = until ?? (await log.endOffsets(topic))[partition] ?? 0n
  for (let from = 0n; from < end; ) {
    try {
      yield* readRange(log, topic, partition, from, end)
      return
    } catch (error) {
      if (!(error instanceof RecordDamagedError)) throw error
      onDamage(error.damage)
      from = error.damage.to > from ? error.damage.to : from + 1n
    }
  }
}
