import { z } from 'zod'
import { type Fold, isA } from '../../processors/processor.ts'
import { defineEvent } from '../../schemas/declare/event.ts'
import { int32, mapOf, utf8 } from '../../schemas/declare/logical-types.ts'
import { groupFormed } from '../../schemas/events/rollout.ts'

export const outcomesCounted = defineEvent({
  type: 'lab.outcomes_counted',
  version: 1,
  key: 'group_id',
  encoding: 'json',
  retention: 'derived',
  about: 'How often each outcome came in a group.',
  row: { group_id: utf8(), outcomes: mapOf(int32()) },
})

const state = z.object({ forget: z.object({ clock: z.enum(['virtual', 'wall']), time: z.string() }) })

/** A second delivery of a group may arrive this long after the first one. Inferred; the same as in form-groups. */
const MEMORY_MS = 7 * 24 * 3_600_000

/** A processor as an outside developer would write it: it knows Plumbline's events and nothing else. */
export function countOutcomes(): Fold<z.infer<typeof state>> {
  return {
    shape: 'fold',
    name: 'count-outcomes',
    version: 1,
    about: 'how often each outcome came in a group',
    variant: [],
    produces: 'derived',
    inputs: [groupFormed],
    outputs: [outcomesCounted],
    state: { version: 1, schema: state },
    apply(counted, event, emit) {
      if (counted !== undefined || !isA(event, groupFormed)) return counted
      const outcomes: Record<string, number> = {}
      for (const { outcome } of event.data) outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
      emit(outcomesCounted, { group_id: event.key, outcomes })
      const time = new Date(Date.parse(event.time) + MEMORY_MS).toISOString()
      return { forget: { clock: event.clock, time } }
    },
    deadline: ({ forget }) => ({ ...forget, housekeeping: true }),
    expire: () => undefined,
  }
}
