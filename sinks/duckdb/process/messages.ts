import { tellStarter as tell } from '../../../infra/supervise/answer-starter.ts'
import type { TablesHealth } from '../tables-sink.ts'

/** A request to a process that has a DuckDB file open, from the process that started it. */
export interface Call {
  readonly call: 'open' | 'run' | 'load_once' | 'lag' | 'close'
  readonly options?: unknown
}

/** What such a process reports without being asked. */
export type Told =
  /** For a person. */
  | { readonly kind: 'report'; readonly message: string }
  /** After a change, checked every 250 ms, after each load and on close. */
  | { readonly kind: 'health'; readonly health: TablesHealth }
  /** A question has begun, with its time limit; then it has ended. */
  | { readonly kind: 'question'; readonly question: number; readonly time_limit_ms: number }
  | { readonly kind: 'answered'; readonly question: number }

export function tellStarter(told: Told): void {
  tell(told)
}

let asked = 0

/**
 * Reports a question to the starter, which ends this process if the question exceeds its limit.
 * @returns a function to call when the question has ended
 */
export function tellQuestion(time_limit_ms: number): () => void {
  const question = ++asked
  tellStarter({ kind: 'question', question, time_limit_ms })
  return () => tellStarter({ kind: 'answered', question })
}
