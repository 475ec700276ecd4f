import type { Position, Topic } from '../../log/port/log.ts'
import { changelogTopic, journalTopic } from '../internal/internal-topics.ts'
import type { Misplaced } from './misplaced.ts'

/** The topics that a processor's positions depend on: its inputs, its journal and its changelog. */
export class TaskTopics {
  readonly #ids: ReadonlyMap<string, string>
  readonly #state_in: string

  constructor(processor: string, topics: readonly Topic[]) {
    this.#ids = new Map(topics.map(({ name, id }) => [name, id]))
    const ids = [journalTopic(processor), changelogTopic(processor)].map((topic) => this.#ids.get(topic) ?? '')
    this.#state_in = ids.includes('') ? '' : ids.join(',')
  }

  /** Binds a position to the ids of its topic and of the journal and changelog that belong to it. */
  bind(position: Position): Position {
    const topic_id = this.#ids.get(position.topic) ?? ''
    const state_in = this.#state_in === '' ? {} : { state_in: this.#state_in }
    return { ...position, seen: { topic_id, ...position.seen, ...state_in } }
  }

  /** Positions that were committed with another journal or changelog: the state they belong to is gone. */
  misplaced(positions: readonly Position[]): Misplaced[] {
    return positions.flatMap((position) => {
      const was = position.seen?.state_in ?? ''
      if (was === '' || this.#state_in === '' || was === this.#state_in) return []
      return [
        {
          position,
          why: 'its journal or its changelog was deleted and made again, and with it the record of what was processed',
        },
      ]
    })
  }
}
