import type { Position } from './log.ts'

/** The most polls that a topic which is ahead waits: a clock jump in the append times must not starve it. */
const MOST_WAITS = 64

interface Read {
  /** Append time of the last record read. */
  last_ms: number
  /** Whether the last read found something. */
  found: boolean
  waits: number
}

/**
 * A member's progress in each topic of a partition, measured by append times. Related records, e.g. a request and its
 * sixteen completions, are appended at about the same time but differ in size. If topics were read by equal numbers of
 * bytes, all requests of a backlog would be in memory before a fifth of its completions were read. So a topic that is
 * ahead of another one with more to read waits for it. A preference that bounds memory; no result depends on it.
 */
export class ReadTimes {
  readonly #topics: readonly string[]
  /** By partition, by topic. */
  readonly #read = new Map<number, Map<string, Read>>()

  constructor(topics: readonly string[]) {
    this.#topics = topics
  }

  /** Records a read of a topic of a partition. */
  note({ topic, partition }: Position, found: boolean, last_ms: number | undefined): void {
    if (this.#topics.length < 2) return
    const topics = this.#read.get(partition) ?? new Map<string, Read>()
    this.#read.set(partition, topics)
    const known = topics.get(topic)
    topics.set(topic, { last_ms: last_ms ?? known?.last_ms ?? Number.NEGATIVE_INFINITY, found, waits: 0 })
  }

  /** Whether the topic should wait this time. */
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

  /** For a partition that is now read from another offset or by another member. */
  forget(partition: number): void {
    this.#read.delete(partition)
  }
}
