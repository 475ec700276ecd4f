import type { Position } from '../infra/log/port/log.ts'
import { partitionName } from '../infra/log/port/partition-name.ts'
import type { Place, UnreadableRecord } from './unreadable-record.ts'

/** What a sink commits together: in memory until the commit succeeds. How records are stored is up to the sink. */
export class SinkBatch {
  /** Size of the keys and values that were read. */
  bytes = 0
  records = 0
  /** To remove from the list of the unreadable: stored with this batch, or skipped. */
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

  addUnreadable(topic: string, partition: number, offset: bigint, ce_id: string | null, error: string): void {
    this.#unreadable.push({ topic, partition, offset, ce_id, error })
  }

  /** Forgets unreadable records that need no commit, because they are listed with the same reason. */
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
