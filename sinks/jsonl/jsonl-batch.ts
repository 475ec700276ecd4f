import type { Position } from '../../infra/log/port/log.ts'
import { partitionName } from '../../infra/log/port/partition-name.ts'
import type { Collecting } from '../read-in-order.ts'

export const UNREADABLE = 'unreadable'
export const fileOf = (name: string) => `${name}.jsonl`

/** What one commit appends, and the positions after it. */
export class JsonlBatch implements Collecting {
  bytes = 0
  records = 0
  /** Size of the lines, in characters. */
  characters = 0
  /** Lines by file. */
  readonly lines = new Map<string, string[]>()
  /** How many records of each topic are unreadable. */
  readonly unreadable = new Map<string, number>()
  readonly #positions = new Map<string, Position>()

  get positions(): readonly Position[] {
    return [...this.#positions.values()]
  }

  /** @param name of the event type */
  add(name: string, value: unknown): void {
    const line = `${JSON.stringify(value)}\n`
    const file = fileOf(name)
    const lines = this.lines.get(file) ?? []
    this.lines.set(file, lines)
    lines.push(line)
    this.characters += line.length
  }

  addUnreadable(topic: string, partition: number, offset: bigint, ce_id: string | null, error: string): void {
    this.add(UNREADABLE, { topic, partition, offset: Number(offset), ce_id, error })
    this.unreadable.set(topic, (this.unreadable.get(topic) ?? 0) + 1)
  }

  moveTo(position: Position): void {
    this.#positions.set(partitionName(position), position)
  }
  positionOf(topic: string, partition: number): Position | undefined {
    return this.#positions.get(partitionName({ topic, partition }))
  }
}
