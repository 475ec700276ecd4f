import type { ConsumerState } from '../consumer-state.ts'
import { FeedRefusal } from '../refusal.ts'
import { current } from './current.ts'

/** The run that a model was trained in, as its publisher names it. */
export interface Training {
  readonly run: string
  readonly epoch: number
  /** The last optimiser step that the weights have taken. */
  readonly step: number
  readonly lineage: string
}

/** @throws FeedRefusal when this is not what the consumer's current run has done */
export function expectTraining(state: ConsumerState, { run, epoch, step, lineage }: Training): void {
  const { run: now } = current(state, { epoch, rank: 0 })
  const refuse = (field: string, expected: string | number, got: string | number) => {
    throw new FeedRefusal('invalid', `${field}: expected ${expected}, as consumer ${state.name} has it, got ${got}`)
  }
  if (now.run !== run) refuse('trained_at.run', now.run, run)
  if (now.lineage !== lineage) refuse('lineage', now.lineage, lineage)
  let begun = now.step
  for (let rank = 0; rank < now.world_size; rank++) begun = Math.max(begun, state.rank(rank).begun)
  if (step > begun) refuse('trained_at.step', `at most ${begun}`, step)
}
