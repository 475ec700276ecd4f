import { z } from 'zod'
import { type Fold, isA } from '../../processors/processor.ts'
import { defineEvent } from '../../schemas/event.ts'
import { int32, mapOf, utf8 } from '../../schemas/logical-types.ts'
import { groupFormed } from '../../schemas/rollout.ts'

export const outcomesCounted = defineEvent({
  type: 'lab.outcomes_counted',
  version: 1,
  key: 'group_id',
  encoding: 'json',
  retention: 'derived',
  about: 'How often each outcome came in a group.',
  row: { group_id: utf8(), outcomes: mapOf(int32()) },
})

/** A processor as an outside developer would write it: it knows Plumbline's events and nothing else. */
export function countOutcomes(): Fold<{ groups: number }> {
  return {
    shape: 'fold',
    name: 'count-outcomes',
    version: 1,
    about: 'how often each outcome came in a group',
    variant: [],
    produces: 'derived',
    inputs: [groupFormed],
    outputs: [outcomesCounted],
    state: { version: 1, schema: z.object({ groups: z.int() }) },
    apply(state, event, emit) {
      if (isA(event, groupFormed)) {
        const outcomes: Record<string, number> = {}
        for (const { outcome } of event.data) outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
        emit(outcomesCounted, { group_id: event.key, outcomes })
      }
      return { groups: (state?.groups ?? 0) + 1 }
    },
  }
}
