import type { DataOf, Event } from '../schemas/declare/event.ts'
import { modelPublished, NO_MANIFEST } from '../schemas/events/model.ts'
import { example } from './test-driver.ts'

/** A published policy. Its weights are in no store, unless they are given. */
export function published(
  model: Pick<DataOf<typeof modelPublished>, 'model_id' | 'version'> & Partial<DataOf<typeof modelPublished>>,
  options?: Parameters<typeof example>[2],
): Event<typeof modelPublished> {
  const blob = { sha256: 'a'.repeat(64), bytes: 1, media_type: 'application/onnx' }
  const files = [{ name: 'model.onnx' as const, blob }]
  const rest = { lineage: 'run-1', parent: null, trained_on: [], metrics: {}, trained_at: null }
  return example(modelPublished, { role: 'policy', files, ...rest, ...NO_MANIFEST, ...model }, options)
}
