import { sleep } from '../../infra/sleep.ts'
import { ConsumerState } from './consumer-state.ts'
import { eventsOf } from './history.ts'
import { lastSnapshot, type Snapshot, type SnapshotReading } from './snapshots.ts'

export interface RestoreOptions extends SnapshotReading {
  readonly report: (message: string) => void
  /** How long committed events may stay invisible to a reader, as on Kafka. */
  readonly visible_ms?: number
}

const LOOK_MS = 25
/** Inferred. */
const VISIBLE_MS = 10_000

export interface Restored {
  readonly state: ConsumerState
  /** That it was restored from; undefined when all events were read. */
  readonly snapshot: Snapshot | undefined
}

/**
 * The state of a consumer as of the last event that was committed: from its last snapshot and the events after it, or from
 * all events.
 *
 * @param last the number of that event
 * @throws Error when events are missing or damaged
 */
export async function restored(options: RestoreOptions, name: string, last: number): Promise<Restored> {
  const snapshot = await lastSnapshot(options, name, options.report)
  if (snapshot !== undefined) {
    try {
      return { state: await folded(options, name, last, snapshot), snapshot }
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      options.report(`consumer ${name}: its snapshot does not lead to its events, all of them are read instead: ${why}`)
    }
  }
  return { state: await folded(options, name, last), snapshot: undefined }
}

async function folded(
  options: RestoreOptions,
  name: string,
  last: number,
  snapshot?: Snapshot,
): Promise<ConsumerState> {
  const until_ms = performance.now() + (options.visible_ms ?? VISIBLE_MS)
  for (;;) {
    const state = snapshot === undefined ? new ConsumerState(name) : ConsumerState.restored(snapshot.stored)
    for await (const event of eventsOf(options, name, state.number, new Map(snapshot?.positions))) {
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
