import { retryOf } from '../../../infra/retry.ts'
import type { TablesHealth } from '../tables-sink.ts'

/** A request to a process that has a DuckDB file open, from the process that started it. */
export interface Call {
  readonly call: 'open' | 'run' | 'load_once' | 'lag' | 'close'
  readonly options?: unknown
}

export type ToProcess =
  | ({ readonly kind: 'call'; readonly id: number } & Call)
  /** Asks the call to end soon, with what it has done. */
  | { readonly kind: 'cancel'; readonly id: number }

export type FromProcess =
  | { readonly kind: 'done'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'failed'; readonly id: number; readonly failure: Failure }
  /** For a person. */
  | { readonly kind: 'report'; readonly message: string }
  /** After a change, checked every 250 ms, after each load and on close. */
  | { readonly kind: 'health'; readonly health: TablesHealth }
  /** A question has begun, with its time limit; then it has ended. */
  | { readonly kind: 'question'; readonly question: number; readonly time_limit_ms: number }
  | { readonly kind: 'answered'; readonly question: number }

/** An error as sent between processes. */
export interface Failure {
  readonly name: string
  readonly message: string
  /** `retry`, and those of the error's own fields that are strings, numbers or booleans. */
  readonly carries: Readonly<Record<string, string | number | boolean>>
}

export function toFailure(error: unknown): Failure {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error), carries: {} }
  const carries = Object.entries(error).filter(([, value]) => ['string', 'number', 'boolean'].includes(typeof value))
  const retry = retryOf(error)
  const answer = retry === undefined ? {} : { retry }
  return { name: error.name, message: error.message, carries: { ...Object.fromEntries(carries), ...answer } }
}

/** Rebuilds the error, of its own class if that is in `classes`. */
export function fromFailure({ name, message, carries }: Failure, classes: readonly ErrorClass[]): Error {
  const Known = classes.find((known) => known.name === name)
  const error = Known === undefined ? new Error(message) : new Known(message)
  return Object.assign(error, carries, { name })
}

type ErrorClass = new (message: string) => Error
