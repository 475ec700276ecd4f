import type { Actor } from './actor.ts'
import type { FaultKind } from './fault-kinds.ts'

/** A point where an actor waits for its next step: before a call of the log, or before its answer. */
export interface Turn {
  readonly owner: Actor
  readonly what: string
  readonly commits: boolean
  readonly may_fail: boolean
  /** In the middle of an operation that a fault may interrupt. */
  readonly is_delicate: boolean
  /** A call of the blob store. */
  readonly needs_blobs: boolean
  /** Until this time the turn is skipped while `ready` returns false; 0: never skipped. */
  readonly until_ms: number
  readonly ready: () => boolean
  readonly go: (fault: FaultKind | undefined) => void
}

export type TurnOptions = Partial<
  Pick<Turn, 'commits' | 'may_fail' | 'is_delicate' | 'needs_blobs' | 'until_ms' | 'ready'>
>
