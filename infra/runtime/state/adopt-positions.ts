import { lastRecord } from '../../log/port/last-record.ts'
import type { Log, Position } from '../../log/port/log.ts'
import { lastRead } from '../../log/port/seen.ts'
import { journalTopic } from '../internal/internal-topics.ts'
import type { Misplaced } from './misplaced.ts'

/** How far the clocks of two brokers may differ: one may have the journal, the other the inputs. Inferred. */
export const CLOCKS_DIFFER_MS = 1_000

export interface Adopted {
  readonly positions: readonly Position[]
  readonly misplaced: readonly Misplaced[]
}

/**
 * Binds positions of an earlier release, which are offsets only, to the current topics. A processor writes its journal
 * in the transaction that commits its position. So in the right topic, the last record before a position is never
 * younger than the last entry of the journal.
 */
export async function adoptPositions(
  log: Log,
  processor: string,
  partition: number,
  positions: readonly Position[],
): Promise<Adopted> {
  const old = positions.filter(({ seen }) => seen === undefined)
  if (old.length === 0) return { positions: [], misplaced: [] }
  const ids = new Map((await log.topics()).map(({ name, id }) => [name, id]))
  const journal = journalTopic(processor)
  const noted = await lastRecord(log, journal, partition, (await log.endOffsets(journal))[partition] ?? 0n)
  const adopted: Position[] = []
  const misplaced: Misplaced[] = []
  for (const position of old) {
    const last = await lastRecord(log, position.topic, partition, position.next)
    const late_ms = (last?.appended_ms ?? 0) - (noted?.appended_ms ?? Number.NEGATIVE_INFINITY)
    if (last !== undefined && late_ms > CLOCKS_DIFFER_MS) {
      misplaced.push({
        position,
        why: `the last record before that is younger than ${noted === undefined ? `${journal}, which is empty` : `the last entry of ${journal}`}: the topic was made again`,
      })
      continue
    }
    const topic_id = ids.get(position.topic) ?? ''
    adopted.push({ ...position, seen: last === undefined ? { topic_id } : { topic_id, last: lastRead(last) } })
  }
  return { positions: adopted, misplaced }
}
