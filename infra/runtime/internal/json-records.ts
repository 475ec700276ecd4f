import type { Log, LogRecord } from '../../log/port/log.ts'

const CHUNK_BYTES = 4 * 1024 * 1024

export function toJson(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value))
}

/** A record's JSON, of any shape: `internal-records.ts` checks it. @throws SyntaxError when it is not JSON */
export function readJson<T>({ value }: Pick<LogRecord, 'value'>): T {
  return JSON.parse(Buffer.from(value ?? new Uint8Array()).toString('utf8')) as T
}

/** Every committed record of a partition with offsets in [`from`, `until`) (default: its end when this is called). */
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
