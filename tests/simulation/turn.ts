import type { Actor } from './actor.ts'
import type { FaultKind } from './fault-kinds.ts'

/** A point where an actor waits for its next step: before a call of the log, before its answer. */
export interface Turn {
  readonly owner: Actor
  readonly what: string
  readonly commits: boolean
  readonly may_fail: boolean
  /** In the middle of something that a fault may tear apart. */
  readonly is_delicate: boolean
  /** Until this time it is skipped while `ready` says no; 0: it is ready. */
  readonly until_ms: number
  readonly ready: () => boolean
  readonly go: (fault: FaultKind | undefined) => void
}

export type TurnOptions = Partial<Pick<Turn, 'commits' | 'may_fail' | 'is_delicate' | 'until_ms' | 'ready'>>
