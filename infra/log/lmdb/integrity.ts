import { setImmediate as turn } from 'node:timers/promises'
import type { Damage, Integrity, LogRecord } from '../port/log.ts'
import { chunkAt, nextChunk, readOn } from './chunk-table.ts'
import { ReadSpace } from './read-space.ts'
import type { Reader } from './reader.ts'
import { lostRanges } from './tables.ts'

/** Chunks (a few megabytes) to check before other work on the event loop gets a turn. */
const CHUNKS_AT_ONCE = 64

/** Checks every chunk of every partition; see `Log.integrity`. */
export async function integrityOf(reader: Reader): Promise<Integrity> {
  let [checksummed, unchecksummed] = [0, 0]
  const damaged: Damage[] = []
  const lost: Damage[] = []
  for (const { name: topic, partitions } of reader.steadily(() => reader.topics())) {
    for (let partition = 0; partition < partitions; partition += 1) {
      const walk = new PartitionWalk(reader, topic, partition)
      while (walk.step()) {
        await turn()
        reader.refresh()
      }
      checksummed += walk.checksummed
      unchecksummed += walk.unchecksummed
      damaged.push(...walk.damaged)
      lost.push(...walk.lost)
    }
  }
  return { checksummed, unchecksummed, damaged, lost }
}

class PartitionWalk {
  checksummed = 0
  unchecksummed = 0
  readonly damaged: Damage[] = []
  readonly lost: Damage[] = []
  readonly #reader: Reader
  readonly #topic: string
  readonly #partition: number
  #from: number

  constructor(reader: Reader, topic: string, partition: number) {
    this.#reader = reader
    this.#topic = topic
    this.#partition = partition
    this.#from = reader.steadily(() => reader.topic(topic)).begins[partition] as number
  }

  /** @returns whether there is more to check */
  step(): boolean {
    const [checksummed, unchecksummed, from] = [this.checksummed, this.unchecksummed, this.#from]
    const [damaged, lost] = [this.damaged.length, this.lost.length]
    return this.#reader.steadily(() => {
      // `steadily` may repeat this, so undo the previous attempt.
      Object.assign(this, { checksummed, unchecksummed })
      this.#from = from
      this.damaged.length = damaged
      this.lost.length = lost
      return this.#step()
    })
  }

  #step(): boolean {
    const [reader, topic, partition] = [this.#reader, this.#topic, this.#partition]
    const row = reader.topic(topic)
    const end = row.ends[partition] as number
    // Retention may have deleted records meanwhile.
    let from = Math.max(this.#from, row.begins[partition] as number)
    for (let i = 0; i < CHUNKS_AT_ONCE && from < end; i += 1) {
      const chunk = chunkAt(reader.tables, row.id, partition, from, new ReadSpace())
      const into: LogRecord[] = []
      const reached = readOn(
        chunk,
        { topic, partition },
        from,
        { bytes: Number.POSITIVE_INFINITY, at_least_one: true },
        into,
      )
      if (typeof reached === 'number') {
        if (chunk?.soundness === 'sound') this.checksummed += into.length
        else this.unchecksummed += into.length
        from = reached
        continue
      }
      const found = lostRanges(reader.tables, topic, partition).find(([first, to]) => first <= from && from < to)
      if (found === undefined) this.damaged.push(reader.damageAt(row, { topic, partition, from }, reached))
      else this.lost.push({ topic, partition, from: BigInt(from), to: BigInt(found[1]), problem: LEFT_OUT })
      from = Number((found === undefined ? this.damaged : this.lost).at(-1)?.to)
    }
    this.#from = from
    if (from < end) return true
    this.#lookBeyond(row.id, end)
    return false
  }

  /** The end is stored in the catalog, which has no checksum: a chunk beyond it shows that the end is wrong. */
  #lookBeyond(topic_id: number, end: number): void {
    const beyond = nextChunk(this.#reader.tables, topic_id, this.#partition, end - 1)
    if (beyond === undefined) return
    const [from, to] = [BigInt(end), BigInt(beyond) + 1n]
    const problem = `the catalog says that the partition ends at ${end}, and there is a chunk at ${beyond}`
    this.damaged.push({ topic: this.#topic, partition: this.#partition, from, to, problem })
  }
}

const LEFT_OUT = 'a repair could not bring them over'
