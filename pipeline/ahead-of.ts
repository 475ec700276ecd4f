import { sleep } from '../infra/sleep.ts'
import type { RowOfEvent } from '../schemas/declare/event.ts'
import { rolloutRequested } from '../schemas/events/rollout.ts'
import type { TrainingLog } from '../sinks/feed/history.ts'
import { type Pace, UNPACED } from '../sources/pace.ts'
import type { Emitted } from '../sources/source.ts'
import { type Ahead, type Asked, GroupsAhead } from './groups-ahead.ts'

export interface AheadOfOptions extends TrainingLog {
  /** By consumer: at most so many groups may be ahead of it. */
  readonly limits: ReadonlyMap<string, number>
  /** What is asked for: what a consumer that has not subscribed yet is taken to want. */
  readonly asks: Asked
  readonly report: (message: string) => void
  /** Once every consumer has retired. Default: as fast as the log takes it. */
  readonly otherwise?: Pace
  /** Milliseconds of a clock that never goes back. */
  readonly now_ms?: () => number
}

/** How often a source that waits looks at the log. Inferred. */
const LOOK_MS = 100
/** After how long a wait for a consumer is reported. Inferred: longer than a step of most trainers. */
export const SILENT_MS = 600_000

interface Wait {
  /** Of the last training event that was seen. */
  number: number
  /** Since when it has no room and does nothing. */
  since_ms: number | undefined
  is_told: boolean
}

/**
 * Permits as many groups as there is room for ahead of the slowest consumer: asked for and neither formed nor expired,
 * or formed and not given to a trainer. `docs/feed.md`, "Not too far ahead".
 */
export class AheadOf implements Pace {
  readonly #options: AheadOfOptions
  readonly #groups: GroupsAhead
  readonly #otherwise: Pace
  readonly #now_ms: () => number
  readonly #waits = new Map<string, Wait>()
  /** What was reported of each consumer, once. */
  readonly #told = new Set<string>()
  #all_retired = false

  constructor(options: AheadOfOptions) {
    this.#options = options
    this.#groups = new GroupsAhead(options, [...options.limits.keys()], options.asks)
    this.#otherwise = options.otherwise ?? UNPACED
    this.#now_ms = options.now_ms ?? (() => performance.now())
  }

  async permit(signal: AbortSignal): Promise<number> {
    for (; !signal.aborted; await sleep(LOOK_MS, signal)) {
      await this.#groups.read()
      const { ahead } = this.#groups
      this.#all_retired = ahead.every(({ retired }) => retired !== undefined)
      for (const one of ahead) this.#tellState(one)
      if (this.#all_retired) return await this.#otherwise.permit(signal)
      const rooms = ahead.flatMap((one) => (one.retired === undefined ? [this.#roomFor(one)] : []))
      const room = Math.min(...rooms)
      if (room > 0) return room
    }
    return 0
  }

  taken(steps: number, emitted: readonly Emitted[]): void {
    for (const { type, event } of emitted) {
      if (type.type !== rolloutRequested.type) continue
      const { group_id, origin, task, purpose } = event.data as RowOfEvent<typeof rolloutRequested>
      this.#groups.asked(group_id, { origin, task, purpose })
    }
    if (this.#all_retired) this.#otherwise.taken(steps, emitted)
  }

  #roomFor(ahead: Ahead): number {
    const { consumer, number, open, waiting } = ahead
    const most = this.#options.limits.get(consumer) ?? 0
    const room = most - open - waiting
    const wait = this.#waits.get(consumer) ?? { number, since_ms: undefined, is_told: false }
    this.#waits.set(consumer, wait)
    if (number !== wait.number) Object.assign(wait, { number, since_ms: undefined, is_told: false })
    if (room > 0) wait.since_ms = undefined
    else wait.since_ms ??= this.#now_ms()
    if (wait.since_ms !== undefined && !wait.is_told && this.#now_ms() - wait.since_ms >= SILENT_MS) {
      wait.is_told = true
      // One that has not subscribed was reported at once.
      if (number > 0) this.#options.report(silence(ahead, most))
    }
    return room
  }

  #tellState({ consumer, number, retired }: Ahead): void {
    const most = this.#options.limits.get(consumer)
    if (number === 0) {
      this.#tell(
        `${consumer} is unknown`,
        `no consumer ${consumer} has subscribed yet: generation asks for ${most} groups and then waits for it`,
      )
    }
    if (retired === undefined) return
    const rest = this.#all_retired ? 'no other one is named: generation goes on at its rate' : 'the others still do'
    this.#tell(
      `${consumer} has retired`,
      `the consumer ${consumer} has retired and no longer limits generation (${retired}); ${rest}`,
    )
  }

  #tell(what: string, message: string): void {
    if (this.#told.has(what)) return
    this.#told.add(what)
    this.#options.report(message)
  }
}

function silence({ consumer, open, waiting }: Ahead, most: number): string {
  const minutes = SILENT_MS / 60_000
  const counts = `${waiting} formed groups wait for it, ${open} were asked for and have not formed; at most ${most} may be ahead of it`
  const remedy =
    waiting > 0
      ? `start its trainer, or retire it: DELETE /v1/consumers/${consumer}`
      : 'no group forms: start ./plumbline run, or wait until those that are lost expire'
  return `generation waits for the consumer ${consumer}, which has done nothing for ${minutes} minutes (${counts}): ${remedy}`
}
