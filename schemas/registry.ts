import type { EventType } from './event.ts'

/** What reading needs to know of the events. */
export interface Catalogue {
  get(type: string): EventType | undefined
}

/** @throws Error when two declarations have the same type: versions of an event live in one. */
export function catalogueOf(types: readonly EventType[]): Catalogue {
  const byType = new Map<string, EventType>()
  for (const type of types) {
    if (byType.has(type.type))
      throw new Error(`${type.type} is declared twice; an earlier version goes into \`earlier\``)
    byType.set(type.type, type)
  }
  return byType
}
