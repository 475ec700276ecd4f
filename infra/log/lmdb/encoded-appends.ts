import type { NewRecord } from '../port/log.ts'
import { partitionName } from '../port/partition-name.ts'
import type { Appends } from '../port/producer.ts'
import { ChunkBuilder } from './chunk.ts'
import type { Reader } from './reader.ts'
import type { PartitionAppends } from './request.ts'

/** An open transaction's records, encoded as they are appended. */
export class EncodedAppends implements Appends {
  readonly #reader: Reader
  readonly #spare: ArrayBuffer[] | undefined
  readonly #builders = new Map<string, { topic: string; partition: number; builder: ChunkBuilder }>()

  constructor(reader: Reader, spare: ArrayBuffer[] | undefined) {
    this.#reader = reader
    this.#spare = spare
  }

  add(topic: string, partition: number, record: NewRecord): void {
    const place = partitionName({ topic, partition })
    let into = this.#builders.get(place)
    if (into === undefined) {
      this.#reader.refresh()
      this.#reader.expectPartition(topic, partition)
      into = { topic, partition, builder: new ChunkBuilder(this.#spare) }
      this.#builders.set(place, into)
    }
    into.builder.add(record)
  }

  /** Chunks, and the memory that can be transferred with them. */
  finish(): { appends: readonly PartitionAppends[]; memory: ArrayBuffer[] } {
    const appends: PartitionAppends[] = []
    const memory = new Set<ArrayBuffer>()
    for (const { topic, partition, builder } of this.#builders.values()) {
      const chunks = builder.finish()
      appends.push({ topic, partition, chunks })
      for (const chunk of chunks) memory.add(chunk.bytes.buffer as ArrayBuffer)
    }
    return { appends, memory: [...memory] }
  }
}
