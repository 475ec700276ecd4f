import type { Blobs } from '../infra/blobs/blobs.ts'
import type { Log } from '../infra/log/port/log.ts'
import type { EventType } from '../schemas/declare/event.ts'
import type { Partitions } from '../schemas/wire/partitions.ts'
import { type PushSource, pushSource } from './push-source.ts'
import { runSource } from './run-source.ts'
import type { Emitted } from './source.ts'

/** Of events that wait for their commit. Inferred. */
const MAX_BYTES = 32 * 2 ** 20

export interface HandedEventsOptions {
  readonly log: Log
  readonly blobs: Blobs
  readonly partitions: Partitions
  readonly types: readonly EventType[]
  /** Unique per process, so that several processes take in events concurrently. */
  readonly instance: string
  readonly report: (message: string) => void
}

/** A live source that is opened when the first event is handed in, and again after its run has ended with an error. */
export class HandedEvents {
  readonly #options: HandedEventsOptions
  readonly #stop = new AbortController()
  #open: { readonly source: PushSource; readonly running: Promise<unknown> } | undefined

  constructor(options: HandedEventsOptions) {
    this.#options = options
  }

  /**
   * Resolves once the event is committed.
   *
   * @throws InvalidEventError, EventTooLargeError, IdTakenError, NotCommittedError as `PushSource.hand`
   */
  async hand(emitted: Emitted, signal?: AbortSignal): Promise<void> {
    this.#open ??= this.#run()
    await this.#open.source.hand(emitted, signal)
  }

  #run() {
    const { types, instance, ...how } = this.#options
    const source = pushSource({ name: `events/${instance}`, types, max_bytes: MAX_BYTES })
    const running = runSource(source, { ...how, signal: this.#stop.signal })
      // Each event that fails because of it has the error.
      .catch(() => {})
      .finally(() => {
        this.#open = undefined
      })
    return { source, running }
  }

  /** Finishes the commit that is under way; what has none is refused. */
  async close(): Promise<void> {
    this.#stop.abort()
    await this.#open?.running
  }
}
