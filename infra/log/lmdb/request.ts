import {
  FencedError,
  LogBusyError,
  LogDamagedError,
  LogFullError,
  LogReadOnlyError,
  LogUnreachableError,
  TopicMismatchError,
  TopicReplacedError,
  type TopicSpec,
  UnknownTopicError,
} from '../port/log.ts'
import { FencedProducerError, type Progress } from '../port/producer.ts'
import type { Chunk } from './chunk.ts'
import type { Durability } from './tables.ts'

/** A request to the writer's thread; each is one atomic step. */
export type Request =
  | { readonly kind: 'createTopics'; readonly topics: readonly TopicSpec[] }
  | { readonly kind: 'fence'; readonly transactional_id: string }
  | Commit
  | Renewal
  | { readonly kind: 'leave'; readonly group: string; readonly member: string }
  | { readonly kind: 'trim'; readonly topic: string; readonly partition: number; readonly before: number }

export interface Commit {
  readonly kind: 'commit'
  readonly transactional_id: string
  readonly epoch: number
  readonly appends: readonly PartitionAppends[]
  readonly progress: Progress
}

export interface PartitionAppends {
  readonly topic: string
  readonly partition: number
  readonly chunks: readonly Chunk[]
}

/** A member is alive: it joins, or its lease is renewed. */
export interface Renewal {
  readonly kind: 'renew'
  readonly group: string
  readonly member: string
  readonly topics: readonly string[]
  readonly session_timeout_ms: number
  /** Whether the writer's thread keeps renewing until the member leaves. */
  readonly keep_alive: boolean
}

export interface WriterOptions {
  readonly dir: string
  readonly durability: Durability
  readonly lock_wait_ms: number
}

export type ToWriter = { readonly id: number; readonly request: Request } | 'close'

export type FromWriter =
  /** The thread runs; from now on it can only be waiting for the log. */
  | { readonly kind: 'opening' }
  | { readonly kind: 'opened' }
  | { readonly kind: 'refused'; readonly failure: Failure }
  | { readonly kind: 'done'; readonly id: number; readonly value: unknown; readonly memory?: readonly ArrayBuffer[] }
  | { readonly kind: 'failed'; readonly id: number; readonly failure: Failure }
  /** A heartbeat of this member was written, and with it what others had changed in the group. */
  | { readonly kind: 'beat'; readonly member: string }
  | { readonly kind: 'closed' }

/** An error in a form that can be sent between threads: structured cloning would lose its class. */
export interface Failure {
  readonly kind: string
  readonly message: string
  readonly remedy?: string
}

const KINDS = {
  FencedProducerError,
  FencedError,
  LogBusyError,
  LogDamagedError,
  LogFullError,
  LogReadOnlyError,
  LogUnreachableError,
  TopicMismatchError,
  TopicReplacedError,
  UnknownTopicError,
  Error,
}

export function toFailure(error: unknown): Failure {
  if (!(error instanceof Error)) return { kind: 'Error', message: String(error) }
  const { remedy } = error as { readonly remedy?: string }
  return { kind: error.constructor.name, message: error.message, ...(remedy === undefined ? {} : { remedy }) }
}

export function fromFailure(failure: Failure): Error {
  const kind = KINDS[failure.kind as keyof typeof KINDS] ?? Error
  return new kind(failure.message, failure.remedy)
}
