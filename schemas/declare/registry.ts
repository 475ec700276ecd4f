import type { EventType } from './event.ts'

/** Event types by name, for decoding. */
export interface Catalogue {
  get(type: string): EventType | undefined
}

/** @throws Error when two declarations have the same type: all versions of an event belong in one declaration. */
export function catalogueOf(types: readonly EventType[]): Catalogue {
  const byType = new Map<string, EventType>()
  for (const type of types) {
    if (byType.has(type.type))
      throw new Error(`${type.type} is declared twice; an earlier version goes into \`earlier\``)
    byType.set(type.type, type)
  }
  return byType
}

/**
 * By content: a module that is loaded twice, in a test or through two packages, declares the same twice. Upcasters are
 * functions and not compared.
 */
export const isSameDeclaration = <T extends object>(one: T, other: T): boolean =>
  one === other || JSON.stringify(one) === JSON.stringify(other)
