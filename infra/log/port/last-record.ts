import type { Log, LogRecord } from './log.ts'

/** Bytes that are read at most by one request for a look at a partition. */
export const SCAN_BYTES = 4 * 1024 * 1024

/** The last record below an offset. Transaction markers may follow it, so the search looks back in growing steps. */
export async function lastRecord(
  log: Log,
  topic: string,
  partition: number,
  end: bigint,
): Promise<LogRecord | undefined> {
  const begin = (await log.beginningOffsets(topic))[partition] ?? 0n
  for (let step = 1n; ; step *= 2n) {
    let from = end - step > begin ? end - step : begin
    let last: LogRecord | undefined
    while (from < end) {
      const { records, next } = await log.read({ topic, partition, from, max_bytes: SCAN_BYTES })
      last = records.filter((record) => record.offset < end).at(-1) ?? last
      if (next <= from) break
      from = next
    }
    if (last !== undefined || end - step <= begin) return last
  }
}
