import type { Log, LogRecord } from '../log/log.ts'

const CHUNK_BYTES = 4 * 1024 * 1024

export function toJson(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value))
}

/** @throws Error naming the record when its value is not JSON: internal records are only written by ourselves. */
export function readJson<T>(record: LogRecord): T {
  try {
    return JSON.parse(Buffer.from(record.value ?? new Uint8Array()).toString('utf8')) as T
  } catch {
    throw new Error(
      `${record.topic} partition ${record.partition} offset ${record.offset}: expected JSON; the log is damaged or was written by another program`,
    )
  }
}

/** Every committed record of a partition from an offset up to another, or to where it ended when this was called. */
export async function* readRange(
  log: Log,
  topic: string,
  partition: number,
  from: bigint,
  until?: bigint,
): AsyncGenerator<LogRecord> {
  const end = until ?? (await log.endOffsets(topic))[partition] ?? 0n
  const beginning = (await log.beginningOffsets(topic))[partition] ?? 0n
  let next = from > beginning ? from : beginning
  while (next < end) {
    const chunk = await log.read({ topic, partition, from: next, max_bytes: CHUNK_BYTES })
    for (const record of chunk.records) {
      if (record.offset >= end) return
      yield record
    }
    if (chunk.next <= next) return
    next = chunk.next
  }
}

export function headerOf(record: LogRecord, name: string): string | undefined {
  return record.headers.find((header) => header.name === name)?.value
}
