import type { Position } from '../port/log.ts'
import type { Connection } from './connection.ts'
import { committedOf, offsetsOf } from './offsets.ts'

/** Start positions of the partitions of one generation; requested once for all partitions gained together. */
export class Starts {
  readonly #connection: Connection
  readonly #group: string
  #owned: unknown
  #committed: readonly Position[] | undefined
  readonly #begins = new Map<string, readonly bigint[]>()

  constructor(connection: Connection, group: string) {
    this.#connection = connection
    this.#group = group
  }

  of(owned: unknown): void {
    if (this.#owned === owned) return
    this.#owned = owned
    this.#committed = undefined
    this.#begins.clear()
  }

  async at(topic: string, partition: number): Promise<Position> {
    this.#committed ??= await committedOf(this.#connection, this.#group)
    const committed = this.#committed.find((at) => at.topic === topic && at.partition === partition)
    if (committed !== undefined) return committed
    const name = this.#connection.address.prefix + topic
    const begins = this.#begins.get(topic) ?? (await offsetsOf(this.#connection, name, 'beginning'))
    this.#begins.set(topic, begins)
    return { topic, partition, next: begins[partition] ?? 0n }
  }
}
