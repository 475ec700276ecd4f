import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { z } from 'zod'
import type { RecordBatch } from '../record-batch.ts'
import { type Place, type UnreadableCounts, type UnreadableRecord, unreadableTotal } from '../unreadable-record.ts'
import { damagedFile } from './positions-file.ts'

const whole = z.int().nonnegative()
const line = z.object({
  topic: z.string(),
  partition: whole,
  offset: whole,
  ce_id: z.string().nullable(),
  error: z.string().nullable(),
})

/** Where a line is in the file, in bytes. */
interface Extent {
  readonly at: number
  readonly length: number
}

interface Added {
  readonly place: Place
  readonly is_listed: boolean
  readonly extent: Extent
}

interface Adding {
  readonly lines: string[]
  readonly counts: UnreadableCounts
  readonly committed: () => void
}

/**
 * The lines of `unreadable.jsonl`. The file only grows: the last line of a place counts, and one whose error is null
 * removes the place from the list. Only places and where their lines are stay in memory, since there may be millions.
 */
export class UnreadableLines {
  readonly #file: string
  /** By topic, partition and offset. Offsets were added in order. */
  readonly #listed = new Map<string, Map<number, Map<bigint, Extent>>>()
  #length: number

  private constructor(file: string) {
    this.#file = file
    this.#length = 0
  }

  /**
   * @param length of the file as it was committed
   * @param counts what it lists
   * @throws JsonlFolderError when a line is none of this sink, or when it lists something else
   */
  static async read(file: string, length: number, counts: UnreadableCounts): Promise<UnreadableLines> {
    const lines = new UnreadableLines(file)
    for await (const text of linesOf(file, length)) {
      const { topic, partition, offset, error } = lines.#parsed(text)
      const extent = { at: lines.#length, length: text.length }
      lines.#apply([{ place: { topic, partition, offset: BigInt(offset) }, is_listed: error !== null, extent }])
    }
    const expected = unreadableTotal(counts)
    if (lines.#size !== expected) throw damagedFile(file, `lines of ${expected} records`)
    return lines
  }

  get #size(): number {
    return [...this.#listed.values()]
      .flatMap((partitions) => [...partitions.values()])
      .reduce((sum, { size }) => sum + size, 0)
  }

  /** @param after the place before the first record; undefined: from the first one on */
  async list(after: Place | undefined, most: number): Promise<readonly UnreadableRecord[]> {
    const extents: Extent[] = []
    for (const extent of this.#extentsAfter(after)) {
      if (extents.length === most) break
      extents.push(extent)
    }
    return extents.length === 0 ? [] : await this.#readAt(extents)
  }

  *#extentsAfter(after: Place | undefined): Generator<Extent> {
    for (const [topic, partitions] of sorted(this.#listed)) {
      if (after !== undefined && topic < after.topic) continue
      for (const [partition, offsets] of sorted(partitions)) {
        const from = topic === after?.topic ? after : undefined
        if (from !== undefined && partition < from.partition) continue
        const reached = partition === from?.partition ? from.offset : -1n
        for (const [offset, extent] of offsets) if (offset > reached) yield extent
      }
    }
  }

  /**
   * What a batch adds.
   *
   * @param before the counts of the last commit
   * @returns the lines to append, the counts after them, and `committed`, to be called once both are committed
   */
  adding({ unreadable, healed }: RecordBatch, before: UnreadableCounts): Adding {
    const counts: Record<string, number> = { ...before }
    const lines: string[] = []
    const added: Added[] = []
    let at = this.#length
    const add = ({ topic, partition, offset }: Place, ce_id: string | null, error: string | null) => {
      const text = `${JSON.stringify({ topic, partition, offset: Number(offset), ce_id, error })}\n`
      const length = Buffer.byteLength(text)
      lines.push(text)
      const is_listed = error !== null
      added.push({ place: { topic, partition, offset }, is_listed, extent: { at, length } })
      at += length
      const was_listed = this.#listed.get(topic)?.get(partition)?.has(offset) ?? false
      counts[topic] = (counts[topic] ?? 0) + Number(is_listed) - Number(was_listed)
      if (counts[topic] === 0) delete counts[topic]
    }
    for (const record of unreadable) add(record, record.ce_id, record.error)
    for (const place of healed) add(place, null, null)
    return { lines, counts, committed: () => this.#apply(added) }
  }

  #apply(added: readonly Added[]): void {
    for (const { place, is_listed, extent } of added) {
      const { topic, partition, offset } = place
      const partitions = this.#listed.get(topic) ?? new Map<number, Map<bigint, Extent>>()
      const offsets = partitions.get(partition) ?? new Map<bigint, Extent>()
      this.#listed.set(topic, partitions.set(partition, offsets))
      if (is_listed) offsets.set(offset, extent)
      else offsets.delete(offset)
      this.#length = extent.at + extent.length
    }
  }

  async #readAt(extents: readonly Extent[]): Promise<UnreadableRecord[]> {
    const file = await open(this.#file, 'r')
    try {
      const found: UnreadableRecord[] = []
      for (const { at, length } of extents) {
        const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, at)
        const { offset, error, ...rest } = this.#parsed(buffer.subarray(0, bytesRead))
        found.push({ ...rest, offset: BigInt(offset), error: error ?? '' })
      }
      return found
    } finally {
      await file.close()
    }
  }

  #parsed(text: Buffer): z.infer<typeof line> {
    try {
      return line.parse(JSON.parse(text.toString()))
    } catch {
      throw damagedFile(this.#file, 'lines of a JSON Lines sink')
    }
  }
}

const sorted = <K extends string | number, V>(map: ReadonlyMap<K, V>): [K, V][] =>
  [...map].sort(([a], [b]) => (a < b ? -1 : 1))

/** The first `length` bytes, line by line, each with its end. */
async function* linesOf(file: string, length: number): AsyncGenerator<Buffer> {
  if (length === 0) return
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of createReadStream(file, { end: length - 1 })) {
    const bytes = Buffer.concat([rest, chunk as Buffer])
    let from = 0
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, from)) {
      yield bytes.subarray(from, end + 1)
      from = end + 1
    }
    rest = bytes.subarray(from)
  }
  // A whole file ends with a line's end; what follows is read as a damaged line.
  if (rest.length > 0) yield rest
}
