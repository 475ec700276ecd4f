import { retryOf } from '../retry.ts'

/** An error as sent between processes or threads. */
export interface Failure {
  readonly name: string
  readonly message: string
  readonly stack?: string
  /** `retry`, and those of the error's own fields that are strings, numbers or booleans. */
  readonly carries: Readonly<Record<string, string | number | boolean>>
}

export function toFailure(error: unknown): Failure {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error), carries: {} }
  const carries = Object.entries(error).filter(([, value]) => ['string', 'number', 'boolean'].includes(typeof value))
  const retry = retryOf(error)
  const answer = retry === undefined ? {} : { retry }
  return {
    name: error.name,
    message: error.message,
    ...stackOf(error),
    carries: { ...Object.fromEntries(carries), ...answer },
  }
}

const stackOf = ({ stack }: Error) => (stack === undefined ? {} : { stack })

/** Rebuilds the error, of its own class if that is in `classes`. */
export function fromFailure({ name, message, stack, carries }: Failure, classes: readonly ErrorClass[]): Error {
  const Known = classes.find((known) => known.name === name)
  const error = Known === undefined ? new Error(message) : new Known(message)
  return Object.assign(error, carries, { name }, stack === undefined ? {} : { stack })
}

export type ErrorClass = new (message: string) => Error
