import type { EventType } from '../../../schemas/declare/event.ts'
import type { Log } from '../../log/port/log.ts'
import { publicTopics } from '../state/topics.ts'

/**
 * Where every public topic ended at a given time: per partition, the offset of the first record that the log appended
 * after it. If the host's clock was set back in between, this is one of several possible answers.
 */
export async function offsetsAt(
  log: Log,
  events: readonly EventType[],
  time_ms: number,
): Promise<Record<string, number[]>> {
  const offsets: Record<string, number[]> = {}
  for (const name of await publicTopics(log, events)) {
    const [begins, ends] = await Promise.all([log.beginningOffsets(name), log.endOffsets(name)])
    offsets[name] = []
    for (const [partition, end] of ends.entries()) {
      offsets[name].push(Number(await firstAfter(log, name, partition, begins[partition] ?? 0n, end, time_ms)))
    }
  }
  return offsets
}

async function firstAfter(log: Log, topic: string, partition: number, begin: bigint, end: bigint, time_ms: number) {
  let low = begin
  let high = end
  while (low < high) {
    const middle = (low + high) / 2n
    const { records } = await log.read({ topic, partition, from: middle, max_bytes: 1 })
    const record = records[0]
    if (record === undefined || record.offset >= high) high = middle
    else if (record.appended_ms > time_ms) high = middle
    else low = record.offset + 1n
  }
  return low
}
