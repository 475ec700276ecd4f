import type { Blobs } from '../infra/blobs/blobs.ts'
import type { Log } from '../infra/log/port/log.ts'
import { sleep } from '../infra/sleep.ts'
import type { ClockDomain } from '../schemas/declare/event.ts'
import { clockTicked } from '../schemas/events/clock.ts'
import { sourceId } from '../schemas/wire/identity.ts'
import type { Partitions } from '../schemas/wire/partitions.ts'
import { CLOCK_SOURCE } from './ce-source.ts'
import { type PushSource, pushSource } from './push-source.ts'
import { runSource } from './run-source.ts'
import { type Emitted, emitted, type Source } from './source.ts'

/** The time of a clock, for every partition, idle ones too. Only ticks fire timers. */
export function tickOf(clock: ClockDomain, time: string): Emitted {
  const tick = `${clock}/${time}`
  const envelope = { id: sourceId(['clock', tick]), source: CLOCK_SOURCE, time, clock }
  return emitted(clockTicked, { tick, clock, time }, envelope)
}

/**
 * The host's clock, as a source that always has a tick: its pace sets how often it ticks.
 *
 * @param instance unique per process, so that the clocks of several processes tick concurrently
 */
export function wallClock(instance: string): Source {
  let last: string | undefined
  return {
    name: `clock/${instance}`,
    types: [clockTicked],
    kind: 'live',
    steps: Number.POSITIVE_INFINITY,
    async take(from, { signal }) {
      const now = () => new Date().toISOString()
      // The same time would be the same tick.
      while (now() === last && !signal.aborted) await sleep(1, signal)
      last = now()
      return { emitted: [tickOf('wall', last)], to: from + 1 }
    },
  }
}

/** A few hundred ticks. Inferred; there is one at a time. */
const MAX_BYTES = 65_536

/** A clock that ticks on demand: for generated events, and for a run that ends when no work is left. */
export class Clock {
  readonly #ticks: PushSource
  readonly #running: Promise<unknown>

  private constructor(ticks: PushSource, running: Promise<unknown>) {
    this.#ticks = ticks
    this.#running = running
  }

  /** @param instance unique per process */
  static open(
    options: { readonly log: Log; readonly blobs: Blobs; readonly partitions: Partitions },
    instance: string,
  ): Clock {
    const ticks = pushSource({ name: `clock/${instance}`, types: [clockTicked], max_bytes: MAX_BYTES })
    const running = runSource(ticks, options)
    // Every tick that fails because of it throws its error.
    running.catch(() => {})
    return new Clock(ticks, running)
  }

  /**
   * Resolves once the tick is committed.
   *
   * @throws Error why the run of this clock has ended; open another one
   */
  async tick(clock: ClockDomain, time: string): Promise<void> {
    await this.#ticks.hand(tickOf(clock, time)).catch((error: unknown) => {
      throw (error as Error).cause ?? error
    })
  }

  async close(): Promise<void> {
    this.#ticks.end()
    await this.#running.catch(() => {})
  }
}
