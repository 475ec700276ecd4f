import { parseAnswer } from '../environments/tower/answer.ts'
import { openPhysics, type Physics } from '../environments/tower/physics.ts'
import { type Placement, placeMovedBlock } from '../environments/tower/placement.ts'
import { randomLegal } from '../environments/tower/policies.ts'
import { random } from '../environments/tower/random.ts'
import { sampleScene } from '../environments/tower/scene.ts'
import { LEGAL_PAIRS } from '../environments/tower/task.ts'
import type { OpenBench } from './pairs.ts'

/** Outcomes of random-legal answers to all four tasks in equal parts; no result is cached for the next. */
export const open: OpenBench = async ({ quick }) => {
  const cold = await openPhysics({ memo_entries: 0 })
  const fixed = await openPhysics({ memo_entries: 0, ends_at_rest: false })
  const mix = Array.from({ length: quick ? 40 : 400 }, (_, index) => randomPlacement(index))
  const stepped = mix.filter((placement) => cold.settle(placement).steps > 0)
  const few = stepped.slice(0, Math.ceil(stepped.length / 3))
  return {
    measures: [
      {
        what: 'physics outcomes, cold, on the random-legal mix of all tasks',
        unit: 'outcomes',
        seconds: 'cpu',
        goal: 1_000,
        candidate: { what: 'settle', run: () => settleAll(cold, mix) },
      },
      {
        what: 'physics outcomes that have to be stepped',
        unit: 'outcomes',
        seconds: 'cpu',
        goal: 3,
        candidate: { what: 'settle', run: () => settleAll(cold, few) },
        ceiling: { what: 'the same with a fixed 3 s run', run: () => settleAll(fixed, few) },
      },
    ],
  }
}

function settleAll(physics: Physics, placements: readonly Placement[]): number {
  for (const placement of placements) physics.settle(placement)
  return placements.length
}

function randomPlacement(index: number): Placement {
  const { dataset, task } = LEGAL_PAIRS[index % LEGAL_PAIRS.length] as (typeof LEGAL_PAIRS)[number]
  const scene = sampleScene({ dataset, split: 'train', seed: 'bench', index })
  const parsed = parseAnswer(randomLegal.complete(scene, task, random('bench', index)), task, {})
  if (!parsed.ok) throw new Error(`a random legal answer does not parse: ${parsed.error}`)
  return placeMovedBlock(scene, task, parsed.answer.kind === 'judgement' ? { dx: 0, dy: 0 } : parsed.answer)
}
