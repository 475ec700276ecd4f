import type { Failure } from './failure.ts'

export type ToChild =
  | { readonly kind: 'call'; readonly id: number; readonly call: string; readonly options?: unknown }
  /** Asks the call to end soon, with what it has done. */
  | { readonly kind: 'cancel'; readonly id: number }

export type FromChild =
  | { readonly kind: 'done'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'failed'; readonly id: number; readonly failure: Failure }
  /** Anything else that the child reports, without being asked. */
  | { readonly kind: 'told'; readonly told: unknown }

/** Whether a value has the form of a message. A child that went wrong may send anything. */
export function isFromChild(value: unknown): value is FromChild {
  if (typeof value !== 'object' || value === null) return false
  const { kind, id, failure } = value as { kind?: unknown; id?: unknown; failure?: Partial<Failure> }
  if (kind === 'told') return 'told' in value
  if (typeof id !== 'number') return false
  if (kind === 'failed') return typeof failure?.name === 'string' && typeof failure.message === 'string'
  return kind === 'done' && 'value' in value
}

/** The file descriptor of the pipe in the child. */
export const PIPE = 3
