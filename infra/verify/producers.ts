import type { EventType } from '../../schemas/declare/event.ts'
import { factSourceOf, sourceOf } from '../ce-source.ts'
import type { LogRecord } from '../log/port/log.ts'
import type { DeadLetter } from '../runtime/internal/internal-topics.ts'
import { headerOf } from '../runtime/internal/json-records.ts'
import { letterId, RETRY_SOURCE, retryId } from '../runtime/rebuild/retry-dead-letter.ts'

/** A program of this release that appends events, and their types. */
export interface Producer {
  /** Its `ce_source`. One that ends in `/` is a prefix. */
  readonly ce_source: string
  readonly types: readonly string[]
}

/** Which producer may emit which event types in a topology. */
export class Producers {
  readonly #by_source = new Map<string, Set<string>>()
  readonly #by_prefix: [string, Set<string>][] = []
  /** By topic and the dead letter's id: the `ce_id` of the event in it. */
  readonly #letters = new Map<string, string>()

  constructor(producers: readonly Producer[]) {
    for (const { ce_source, types } of producers) {
      const known = this.#by_source.get(ce_source) ?? new Set<string>()
      for (const type of types) known.add(type)
      this.#by_source.set(ce_source, known)
      if (ce_source.endsWith('/')) this.#by_prefix.push([ce_source, known])
    }
  }

  /** Registers a dead letter, whose event an operator may emit again. */
  addLetter(letter: DeadLetter): void {
    const { topic, processor, ce_id } = letter
    if (ce_id !== null) this.#letters.set(`${topic} ${letterId(processor, ce_id)}`, ce_id)
  }

  /**
   * @returns `ours`; `outside` for a fact of a program outside this topology; or why this source may not emit an event
   * of this type.
   */
  judge(
    type: EventType,
    record: LogRecord,
    causes: readonly string[],
  ): 'ours' | 'outside' | { readonly problem: string } {
    const source = headerOf(record, 'ce_source') ?? ''
    if (source === RETRY_SOURCE) {
      if (this.#isRetry(type, record, causes)) return 'ours'
      // A copy of the sources alone has no dead letters.
      return type.retention === 'derived' ? { problem: notRetried(type) } : 'outside'
    }
    const types = this.#by_source.get(source) ?? this.#by_prefix.find(([prefix]) => source.startsWith(prefix))?.[1]
    if (types?.has(type.type)) return 'ours'
    if (types !== undefined) return { problem: `${source} does not emit ${type.type}` }
    if (type.retention === 'derived') {
      return { problem: `expected ce_source ${this.#sourcesOf(type)}, which derive ${type.type}, got ${source}` }
    }
    if (source.startsWith(sourceOf('')) || source.startsWith(factSourceOf(''))) {
      return { problem: `${source} is no processor of this topology` }
    }
    return 'outside'
  }

  #sourcesOf({ type }: EventType): string {
    const sources = [...this.#by_source].filter(([, types]) => types.has(type)).map(([source]) => source)
    return sources.join(' or ') || 'of a processor'
  }

  #isRetry({ type }: EventType, record: LogRecord, causes: readonly string[]): boolean {
    return causes.some((cause) => {
      const ce_id = this.#letters.get(`${type} ${cause}`)
      return ce_id !== undefined && headerOf(record, 'ce_id') === retryId(type, causes, ce_id)
    })
  }
}

const notRetried = ({ type }: EventType) =>
  `${RETRY_SOURCE} emits a dead letter of ${type} again, and no dead letter is among the causes of this event`
