/** What can be wrong with an event. Each message says where, what was expected and what was there. */

/** Data or an envelope that the declaration does not allow. Thrown where an event is said: a bug of whoever says it. */
export class InvalidEventError extends Error {
  override readonly name = 'InvalidEventError'
}

/** A record that is not an event of the catalogue and never will be: no retry helps. */
export class PoisonError extends Error {
  override readonly name = 'PoisonError'
}

/** An encoded event over the limit of 512 KiB. */
export class EventTooLargeError extends Error {
  override readonly name = 'EventTooLargeError'
}

/** A blob that an event refers to is not there, or is not what its hash says. The event itself is sound: retry. */
export class BlobUnavailableError extends Error {
  override readonly name = 'BlobUnavailableError'
}

/** A value as an error message shows it: short, and never ambiguous between a number and its text. */
export function shown(value: unknown): string {
  if (value === undefined) return 'nothing (the field is missing)'
  if (value === null) return 'null'
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value)
  if (typeof value !== 'object') return Object.is(value, -0) ? '-0' : String(value)
  if (Array.isArray(value)) return `an array of ${value.length}`
  if (ArrayBuffer.isView(value)) return `a ${value.constructor.name} of ${(value as Uint8Array).length}`
  return `an object with ${Object.keys(value).slice(0, 5).join(', ') || 'no fields'}`
}
