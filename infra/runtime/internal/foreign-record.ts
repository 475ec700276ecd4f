import type { LogRecord } from '../../log/port/log.ts'

/** A record of an internal topic that is damaged, or that another program wrote. */
export class ForeignRecordError extends Error {
  override readonly name = 'ForeignRecordError'
  readonly retry = 'never'
  readonly record: LogRecord

  constructor(record: LogRecord, expected: string, found: string) {
    const { topic, partition, offset } = record
    super(
      `${topic} partition ${partition} offset ${offset}: expected ${expected}, found ${found}. ` +
        `Another program wrote it, or it is damaged. ./plumbline skip ${topic} ${partition} ${offset} makes every reader pass over it.`,
    )
    this.record = record
  }
}

/** Describes a record's value for that message. */
export function foundIn({ value }: Pick<LogRecord, 'value'>): string {
  if (value === null) return 'a tombstone'
  const text = Buffer.from(value.subarray(0, 60)).toString('utf8')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: bytes that never occur in text show that it is binary.
  const is_text = !/[\u0000-\u0008\u000e-\u001f\ufffd]/.test(text)
  return is_text
    ? JSON.stringify(value.byteLength > 60 ? `${text}…` : text)
    : `${value.byteLength} bytes that are no text`
}
