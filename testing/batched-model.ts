import { causeOf, isA, type Transform } from '../processors/processor.ts'
import { defineEvent } from '../schemas/declare/event.ts'
import { int32, utf8 } from '../schemas/declare/logical-types.ts'
import { completionsSampled } from '../schemas/events/policy.ts'

export const estimated = defineEvent({
  ...{ type: 'simulated.estimated', version: 1, key: 'group_id', encoding: 'json', retention: 'derived' },
  about: 'What a model computes from an event, which depends on the batch that the event was in.',
  row: { group_id: utf8(), position: int32('in its batch'), batch_size: int32(), first_id: utf8('of its batch') },
})

const MODEL_BATCH = 4

/** A model without padding: its output for an event depends on the batch, and some batches exceed its memory. */
export const ESTIMATING: Transform = {
  shape: 'transform',
  name: 'estimate-completions',
  version: 1,
  about: 'the place of each event in its batch',
  variant: [],
  produces: 'derived',
  inputs: [completionsSampled],
  outputs: [estimated],
  max_batch: MODEL_BATCH,
  apply(events, { emit }) {
    const is_heavy = events.some((event) => isA(event, completionsSampled) && event.data.length > 1)
    if (is_heavy && events.length > MODEL_BATCH / 2) throw new Error('out of memory')
    events.forEach((event, position) => {
      const row = { group_id: event.key, position, batch_size: events.length, first_id: events[0]?.id ?? '' }
      emit(estimated, row, { causes: [causeOf(event)] })
    })
  },
}
