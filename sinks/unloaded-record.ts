import type { LogRecord } from '../infra/log/port/log.ts'

/** Loading is stuck at a record, for a cause outside the record: an unreachable blob store, a bug. */
export class UnloadedRecordError extends Error {
  override readonly name = 'UnloadedRecordError'
  readonly retry = 'later'

  constructor({ topic, partition, offset }: LogRecord, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    super(`${topic} partition ${partition} offset ${offset}: ${reason}`, { cause })
  }
}
