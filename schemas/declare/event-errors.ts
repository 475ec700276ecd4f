import { TensorRef } from './tensor-value.ts'

/** Errors about one event. Each message names the place, the expected value and the actual value. */

/** Data or an envelope that violates the declaration. Thrown when an event is emitted: a bug in the producer. */
export class InvalidEventError extends Error {
  override readonly name = 'InvalidEventError'
  readonly retry = 'never'
  /** For a batch: which row is wrong and how, for a caller that can trace the row to its origin. */
  readonly row: { readonly index: number; readonly problem: string } | undefined

  constructor(message: string, row?: InvalidEventError['row']) {
    super(message)
    this.row = row
  }
}

/** A record that cannot be decoded as an event of the catalogue: no retry helps. */
export class PoisonError extends Error {
  override readonly name = 'PoisonError'
  readonly retry = 'never'
}

/** An encoded event over the limit of 512 KiB. */
export class EventTooLargeError extends Error {
  override readonly name = 'EventTooLargeError'
  readonly retry = 'never'
}

/** A blob that an event refers to is missing, or does not match its hash. The event itself is valid: retry. */
export class BlobUnavailableError extends Error {
  override readonly name = 'BlobUnavailableError'
  readonly retry = 'later'
}

/** Formats a value for an error message: short, with quotes around text so that 1 and "1" differ. */
export function shown(value: unknown): string {
  if (value === undefined) return 'nothing (the field is missing)'
  if (value === null) return 'null'
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value)
  if (typeof value !== 'object') return Object.is(value, -0) ? '-0' : String(value)
  if (value instanceof TensorRef) return String(value)
  if (Array.isArray(value)) return `an array of ${value.length}`
  if (ArrayBuffer.isView(value)) return `a ${value.constructor.name} of ${(value as Uint8Array).length}`
  return `an object with ${Object.keys(value).slice(0, 5).join(', ') || 'no fields'}`
}
