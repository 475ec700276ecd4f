import type { StateDeclaration } from '../../../processors/processor.ts'

/** A stored state was written by a newer program, does not fit its schema, or cannot be recomputed. */
export class StateVersionError extends Error {
  override readonly name = 'StateVersionError'
  readonly retry = 'never'
}

/** A stored state cannot be upcast to this program's version: it has to be recomputed from the log. */
export class NoUpcasterError extends Error {}

/**
 * A stored state, upcast to the current version and checked.
 *
 * @param whose the processor, for messages
 * @throws StateVersionError, NoUpcasterError
 */
export function currentState<S>(whose: string, declared: StateDeclaration<S>, version: number, state: unknown): S {
  const where = `${whose}: state version ${version}, this program has ${declared.version}`
  if (version > declared.version) {
    throw new StateVersionError(`${where}; it was written by a newer Plumbline, use that one`)
  }
  let upcast = state
  for (let step = version; step < declared.version; step++) {
    const next = declared.upcast?.[step]
    if (next === undefined) throw new NoUpcasterError(`${where} and no upcaster from ${step}`)
    upcast = next(upcast)
  }
  const checked = declared.schema.safeParse(upcast)
  if (!checked.success) throw new StateVersionError(`${where}; it does not fit its schema: ${checked.error.message}`)
  return upcast as S
}
