import { defineEvent } from '../declare/event.ts'
import { ID, NOT_NEGATIVE } from '../declare/limits.ts'
import { blob, float64, int64, list, mapOf, nullable, oneOf, utf8 } from '../declare/logical-types.ts'

export const MODEL_ROLES = ['policy', 'encoder', 'physcode', 'world_model', 'router'] as const

const row = {
  model_id: utf8(ID),
  role: oneOf(MODEL_ROLES),
  version: int64(NOT_NEGATIVE, 'counts up within a lineage'),
  lineage: utf8(ID, 'the training run'),
  blob: blob('the weights'),
  parent: nullable(utf8(ID, 'model_id this one was trained from')),
  trained_on: list(utf8(ID), { max_length: 2 ** 20 }, 'group ids or dataset names'),
  metrics: mapOf(float64(), { max_length: 65_536 }),
}

export const modelPublished = defineEvent({
  type: 'model.published',
  version: 2,
  key: 'model_id',
  encoding: 'json',
  retention: 'recorded',
  routing: 'every_partition',
  about: 'A trained model is there to be used.',
  row,
  // Was routed by its key, so that only one task of a processor could have read it.
  earlier: [{ version: 1, row, routing: 'key' }],
})
