import { z } from 'zod'
import type { AnyFold, Processor } from '../../../processors/processor.ts'
import { asFold } from './effect-fold.ts'

/**
 * The fold whose states are in a processor's changelog: itself, an effect as a fold, or for a transform one that has no
 * state but the transform's broadcast state. Undefined for a transform without any.
 */
export function storedFold(processor: Processor): AnyFold | undefined {
  if (processor.shape === 'fold') return processor
  if (processor.shape === 'effect') return asFold(processor)
  const { name, version, about, inputs, variant, produces, broadcast } = processor
  if (broadcast === undefined) return undefined
  return {
    shape: 'fold',
    ...{ name, version, about, inputs, outputs: [], variant, produces, broadcast },
    state: { version: 0, schema: z.never() },
    apply: () => undefined,
  }
}
