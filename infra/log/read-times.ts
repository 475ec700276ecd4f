import type { Position } from './log.ts'

/** A topic that is ahead waits for this many polls at most: append times of a clock that has jumped must starve nobody. */
const MOST_WAITS = 64

interface Read {
  /** When the log took the last record that was read. */
  last_ms: number
  /** Whether the last look found something. */
  found: boolean
  waits: number
}

/**
 * How far a member has come in each topic of a partition, by the time when the log took the records. What belongs
 * together is appended at about the same time, a request and its sixteen completions, and is of different size: read by
 * equal numbers of bytes, a backlog's requests would all be in memory before a fifth of its completions had come. So a
 * topic that is ahead of another, in which there is more to read, waits for it. A preference that bounds memory; no
 * result depends on it.
 */
export class ReadTimes {
  readonly #topics: readonly string[]
  /** By partition, by topic. */
  readonly #read = new Map<number, Map<string, Read>>()

  constructor(topics: readonly string[]) {
    this.#topics = topics
  }

  /** Notes a look at a topic of a partition. */
  note({ topic, partition }: Position, found: boolean, last_ms: number | undefined): void {
    if (this.#topics.length < 2) return
    const topics = this.#read.get(partition) ?? new Map<string, Read>()
    this.#read.set(partition, topics)
    const known = topics.get(topic)
    topics.set(topic, { last_ms: last_ms ?? known?.last_ms ?? Number.NEGATIVE_INFINITY, found, waits: 0 })
  }

  /** Whether it should wait this time. */
  isAhead({ topic, partition }: Position): boolean {
    const topics = this.#read.get(partition)
    const own = topics?.get(topic)
    if (topics === undefined || own === undefined) return false
    let ahead = false
    for (const [other, { last_ms, found }] of topics)
      if (other !== topic && found && last_ms < own.last_ms) ahead = true
    own.waits = ahead && own.waits < MOST_WAITS ? own.waits + 1 : 0
    return own.waits > 0
  }

  /** It is read from another place, or by somebody else. */
  forget(partition: number): void {
    this.#read.delete(partition)
  }
}
