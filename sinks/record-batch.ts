import { SinkBatch } from './sink-batch.ts'
import type { Place } from './unreadable-record.ts'

/** A record of an event topic, or a dead letter. */
export interface StoredRecord extends Place {
  /** As `tail --json` prints it, except that large columns stay references. */
  readonly json: string
}

/**
 * What a store commits at once, and the positions after it. Within a partition, new records are in the log's order; a
 * batch of records that became readable has no positions. Of its `healed` records, those that are not skipped are also
 * in `stored`.
 */
export class RecordBatch extends SinkBatch {
  /** Size of the records as JSON, in characters. */
  characters = 0
  readonly stored: StoredRecord[] = []

  add({ topic, partition, offset }: Place, value: unknown): void {
    const json = JSON.stringify(value)
    this.stored.push({ topic, partition, offset, json })
    this.characters += json.length
  }
}
