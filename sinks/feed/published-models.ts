import type { Log } from '../../infra/log/port/log.ts'
import { decodeUnlessPoison } from '../../infra/runtime/execute/decode-record.ts'
import type { Event } from '../../schemas/declare/event.ts'
import { modelPublished } from '../../schemas/events/model.ts'
import type { Published } from './decide/staleness.ts'
import type { TrainingLog } from './history.ts'

const PAGE_BYTES = 4 * 1024 * 1024

/** The last version of each lineage of policies, read from the log as it grows. */
export class PublishedModels {
  readonly #options: TrainingLog
  readonly #versions = new Map<string, number>()
  #next = 0n
  #reading: Promise<void> = Promise.resolve()
  /** A reading that has not begun: it serves every call until then. */
  #next_reading: Promise<void> | undefined

  constructor(options: TrainingLog) {
    this.#options = options
  }

  /** Everything that the log holds when this is called. */
  async now(): Promise<Published> {
    this.#next_reading ??= this.#readAfter(this.#reading)
    await this.#next_reading
    return this.#versions
  }

  #readAfter(before: Promise<void>): Promise<void> {
    const reading = before
      .catch(() => {})
      .then(() => {
        // What is appended from here on may be missing.
        this.#next_reading = undefined
        return this.#read()
      })
    this.#reading = reading
    return reading
  }

  async #read(): Promise<void> {
    const { log } = this.#options
    // Every partition has a copy of each.
    const [end = 0n] = await log.endOffsets(modelPublished.type)
    while (this.#next < end) {
      const next = await this.#page(log)
      if (next <= this.#next) return
      this.#next = next
    }
  }

  async #page(log: Log): Promise<bigint> {
    const { vocabulary, partitions, blobs } = this.#options
    const { records, next } = await log.read({
      ...{ topic: modelPublished.type, partition: 0, from: this.#next, max_bytes: PAGE_BYTES },
    })
    for (const record of records) {
      const event = await decodeUnlessPoison(record, vocabulary, partitions, blobs)
      if (event === undefined) continue
      const { role, lineage, version } = event.data as unknown as Event<typeof modelPublished>['data']
      if (role === 'policy') this.#versions.set(lineage, Math.max(version, this.#versions.get(lineage) ?? 0))
    }
    return next
  }
}
