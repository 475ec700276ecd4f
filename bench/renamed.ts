import { type Event, rowsOf } from '../schemas/event.ts'
import { sourceId } from '../schemas/identity.ts'
import type { Said } from '../sources/source.ts'

/** The same event under another name, so that a few hundred fill a log of any size. */
export function renamed({ type, event }: Said, round: number): Said {
  const key = `${event.key}-${round}`
  const rows = rowsOf(event).map((row) => ({ ...row, [type.key]: key }))
  const data = Array.isArray(event.data) ? rows : rows[0]
  return { type, event: { ...event, id: sourceId([event.id, String(round)]), key, data } as Event }
}
