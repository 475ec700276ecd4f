import { type Log, type LogRecord, OffsetGoneError } from '../infra/log/port/log.ts'

/** A page of every partition is in memory at once. Inferred. */
const PAGE_BYTES = 256 * 1024

interface Place {
  readonly topic: string
  readonly partition: number
  /** Up to where this pass reads. */
  end: bigint
  /** Records from the next one on, and where the page after them begins. */
  page: readonly LogRecord[]
  at: number
  after: bigint
}

/**
 * Reads topics as they grow, about in the order in which their records were appended: so a reader that matches causes
 * with effects keeps few of them at a time. Positions are in memory; a new tail begins at the beginning.
 */
export class LogTail {
  readonly #log: Log
  readonly #topics: readonly string[]
  readonly #places = new Map<string, Place>()

  /** @param topics effects before causes: at the end of a pass, the cause of every effect was taken */
  constructor(log: Log, topics: readonly string[]) {
    this.#log = log
    this.#topics = topics
  }

  /**
   * Takes every record that is there now and was not taken before.
   *
   * @throws Error of the log, or of `take`; the next call goes on with the record that it failed at
   */
  async read(take: (record: LogRecord) => void | Promise<void>): Promise<void> {
    await this.#moveEnds()
    const places = [...this.#places.values()]
    for (;;) {
      let first: Place | undefined
      for (const place of places) {
        if (place.at >= place.page.length && place.after < place.end) await this.#turnPage(place)
        const record = place.page[place.at]
        if (record === undefined || record.offset >= place.end) continue
        if (first === undefined || record.appended_ms < (first.page[first.at] as LogRecord).appended_ms) first = place
      }
      if (first === undefined) return
      const taking = take(first.page[first.at] as LogRecord)
      if (taking !== undefined) await taking
      first.at += 1
    }
  }

  async #moveEnds(): Promise<void> {
    // One after the other: the order of these calls is what the order of the topics is for.
    for (const topic of this.#topics) {
      for (const [partition, end] of (await this.#log.endOffsets(topic)).entries()) {
        const name = `${topic}/${partition}`
        const place = this.#places.get(name) ?? { topic, partition, end, page: [], at: 0, after: 0n }
        place.end = end
        this.#places.set(name, place)
      }
    }
  }

  async #turnPage(place: Place): Promise<void> {
    while (place.at >= place.page.length && place.after < place.end) {
      const { records, next } = await this.#page(place.topic, place.partition, place.after)
      // Nothing more is visible: the next pass looks again.
      if (next <= place.after) place.end = place.after
      Object.assign(place, { page: records, at: 0, after: next })
    }
  }

  /** What retention has removed has no open group that still counts. */
  async #page(topic: string, partition: number, from: bigint): ReturnType<Log['read']> {
    try {
      return await this.#log.read({ topic, partition, from, max_bytes: PAGE_BYTES })
    } catch (error) {
      if (!(error instanceof OffsetGoneError)) throw error
      return { records: [], bytes: 0, next: error.gone.beginning }
    }
  }
}
