import type { Position } from '../infra/log/port/log.ts'
import { partitionName } from '../infra/log/port/partition-name.ts'
import type { Rereadable } from './rereading.ts'
import type { Place, UnreadableRecord } from './unreadable-record.ts'

/** A record of an event topic, or a dead letter. */
export interface StoredRecord extends Place {
  /** As `tail --json` prints it, except that large columns stay references. */
  readonly json: string
}

/**
 * What a store commits at once, and the positions after it. Within a partition, new records are in the log's order; a
 * batch of records that became readable has no positions.
 */
export class RecordBatch implements Rereadable {
  bytes = 0
  records = 0
  /** Size of the records as JSON, in characters. */
  characters = 0
  readonly stored: StoredRecord[] = []
  /** To remove from the list of the unreadable. Those that are not skipped are also in `stored`. */
  readonly healed: Place[] = []
  #unreadable: UnreadableRecord[] = []
  readonly #positions = new Map<string, Position>()

  get positions(): readonly Position[] {
    return [...this.#positions.values()]
  }

  /** To list as unreadable; for one that is listed already, the new reason. */
  get unreadable(): readonly UnreadableRecord[] {
    return this.#unreadable
  }

  add({ topic, partition, offset }: Place, value: unknown): void {
    const json = JSON.stringify(value)
    this.stored.push({ topic, partition, offset, json })
    this.characters += json.length
  }

  addUnreadable(topic: string, partition: number, offset: bigint, ce_id: string | null, error: string): void {
    this.#unreadable.push({ topic, partition, offset, ce_id, error })
  }

  dropUnreadable(is_listed: (record: UnreadableRecord) => boolean): void {
    this.#unreadable = this.#unreadable.filter((record) => !is_listed(record))
  }

  heal({ topic, partition, offset }: Place): void {
    this.healed.push({ topic, partition, offset })
  }

  moveTo(position: Position): void {
    this.#positions.set(partitionName(position), position)
  }
  positionOf(topic: string, partition: number): Position | undefined {
    return this.#positions.get(partitionName({ topic, partition }))
  }
}
