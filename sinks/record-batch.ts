import type { Position } from '../infra/log/port/log.ts'
import { partitionName } from '../infra/log/port/partition-name.ts'
import type { Collecting } from './read-in-order.ts'

/** A record of an event topic, or a dead letter. */
export interface StoredRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
  /** As `tail --json` prints it, except that large columns stay references. */
  readonly json: string
}

/** A record that is no event. */
export interface UnreadableRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
  readonly ce_id: string | null
  /** The reason. */
  readonly error: string
}

/** What a store commits at once, and the positions after it. Within a partition, records are in the log's order. */
export class RecordBatch implements Collecting {
  bytes = 0
  records = 0
  /** Size of the records as JSON, in characters. */
  characters = 0
  readonly stored: StoredRecord[] = []
  readonly unreadable: UnreadableRecord[] = []
  readonly #positions = new Map<string, Position>()

  get positions(): readonly Position[] {
    return [...this.#positions.values()]
  }

  add({ topic, partition, offset }: Omit<StoredRecord, 'json'>, value: unknown): void {
    const json = JSON.stringify(value)
    this.stored.push({ topic, partition, offset, json })
    this.characters += json.length
  }

  addUnreadable(topic: string, partition: number, offset: bigint, ce_id: string | null, error: string): void {
    this.unreadable.push({ topic, partition, offset, ce_id, error })
  }

  moveTo(position: Position): void {
    this.#positions.set(partitionName(position), position)
  }
  positionOf(topic: string, partition: number): Position | undefined {
    return this.#positions.get(partitionName({ topic, partition }))
  }
}
