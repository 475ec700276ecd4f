import { createHash } from 'node:crypto'
import type { Blobs } from '../infra/blobs/blobs.ts'
import type { Log } from '../infra/log/port/log.ts'
import { decodeUnlessPoison } from '../infra/runtime/execute/decode-record.ts'
import type { DataOf } from '../schemas/declare/event.ts'
import { catalogueOf } from '../schemas/declare/registry.ts'
import { modelPublished } from '../schemas/events/model.ts'
import { jsonCodec } from '../schemas/wire/json-codec.ts'
import type { Partitions } from '../schemas/wire/partitions.ts'
import { MODEL_SOURCES } from './ce-source.ts'

type Published = DataOf<typeof modelPublished>

export interface ModelsInLogOptions {
  readonly log: Log
  readonly blobs: Blobs
  readonly partitions: Partitions
}

const PAGE_BYTES = 4 * 2 ** 20
const VOCABULARY = catalogueOf([modelPublished])
const codec = jsonCodec(modelPublished.row)

/** Which versions of which lineages a log has: a hash for each, read as the log grows. */
export class ModelsInLog {
  readonly #options: ModelsInLogOptions
  readonly #digests = new Map<string, Map<number, string>>()
  readonly #ids = new Set<string>()
  #next = 0n

  constructor(options: ModelsInLogOptions) {
    this.#options = options
  }

  /** How many events it has read that were published by this program, each once. */
  get by_source(): number {
    return this.#ids.size
  }

  /** Reads what the log has by now. */
  async read(): Promise<void> {
    const { log } = this.#options
    // Every partition has a copy of each.
    const [end = 0n] = await log.endOffsets(modelPublished.type)
    if (end < this.#next) this.#forget()
    while (this.#next < end) {
      const next = await this.#page()
      if (next <= this.#next) return
      this.#next = next
    }
  }

  lastOf(lineage: string): number | undefined {
    let last: number | undefined
    for (const version of this.#digests.get(lineage)?.keys() ?? []) last = Math.max(version, last ?? version)
    return last
  }

  digestOf(lineage: string, version: number): string | undefined {
    return this.#digests.get(lineage)?.get(version)
  }

  digest(model: Published): string {
    return createHash('sha256').update(codec.encode(model)).digest('base64')
  }

  async #page(): Promise<bigint> {
    const { log, blobs, partitions } = this.#options
    const { records, next } = await log.read({
      ...{ topic: modelPublished.type, partition: 0, from: this.#next, max_bytes: PAGE_BYTES },
    })
    for (const record of records) {
      const event = await decodeUnlessPoison(record, VOCABULARY, partitions, blobs)
      if (event === undefined) continue
      const model = event.data as unknown as Published
      const versions = this.#digests.get(model.lineage) ?? new Map<number, string>()
      this.#digests.set(model.lineage, versions)
      // The first one is the one that was published.
      if (!versions.has(model.version)) versions.set(model.version, this.digest(model))
      if (event.source.startsWith(MODEL_SOURCES)) this.#ids.add(event.id)
    }
    return next
  }

  /** The topic was deleted and made again. */
  #forget(): void {
    this.#next = 0n
    this.#digests.clear()
    this.#ids.clear()
  }
}
