import { sleep } from '../../infra/sleep.ts'
import { ConsumerState } from './consumer-state.ts'
import { eventsOf, type TrainingLog } from './history.ts'

export interface RestoreOptions extends TrainingLog {
  /** How long committed events may stay invisible to a reader, as on Kafka. */
  readonly visible_ms?: number
}

const LOOK_MS = 25
/** Inferred. */
const VISIBLE_MS = 10_000

/**
 * The state of a consumer as of the last event that was committed.
 *
 * @param last the number of that event
 * @throws Error when events are missing or damaged
 */
export async function restored(options: RestoreOptions, name: string, last: number): Promise<ConsumerState> {
  const until_ms = performance.now() + (options.visible_ms ?? VISIBLE_MS)
  for (;;) {
    const state = new ConsumerState(name)
    for await (const event of eventsOf(options, name)) {
      // One that is not visible yet may be in another topic than those after it.
      if (!state.isNext(event)) break
      state.apply(event)
    }
    if (state.number >= last) return state
    if (performance.now() >= until_ms) {
      throw new Error(
        `consumer ${name}: expected ${last} training events in ${options.log.address}, found ${state.number} and not the one after them: it is missing or damaged; ./plumbline verify tells where`,
      )
    }
    await sleep(LOOK_MS)
  }
}
