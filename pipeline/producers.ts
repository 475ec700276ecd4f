import { factSourceOf, sourceOf } from '../infra/runtime/execute/emission.ts'
import { type Producer, Producers } from '../infra/verify/producers.ts'
import { RESCORING } from '../processors/rescore-completions/rescore-completions.ts'
import { clockTicked } from '../schemas/events/clock.ts'
import { completionsSampled } from '../schemas/events/policy.ts'
import { completionsRescored, rewardDefined } from '../schemas/events/reward.ts'
import { rolloutRequested } from '../schemas/events/rollout.ts'
import { scenePresented } from '../schemas/events/tower.ts'
import { CLOCK_SOURCE } from '../sources/clock.ts'
import { LERER_SOURCE } from '../sources/lerer.ts'
import { RECORDED_SOURCES } from '../sources/recorded-completions.ts'
import { TOWER_SOURCE } from '../sources/tower-scenes.ts'
import type { Topology } from '../streams/topology.ts'
import { RESCORE_SOURCE } from './rescore.ts'

/** All sources of this release, also those that the current topology does not run: their facts stay in the log. */
const SOURCES: readonly Producer[] = [
  ...[TOWER_SOURCE, LERER_SOURCE].map((ce_source) => ({
    ce_source,
    types: [scenePresented.type, rolloutRequested.type],
  })),
  { ce_source: RECORDED_SOURCES, types: [completionsSampled.type] },
  { ce_source: CLOCK_SOURCE, types: [clockTicked.type] },
  { ce_source: RESCORE_SOURCE, types: [rewardDefined.type] },
  { ce_source: sourceOf(RESCORING), types: [completionsRescored.type] },
]

/** The event types that each `ce_source` may emit: those of the sources, and each stage's declared outputs. */
export function producersOf({ stages }: Topology): Producers {
  return new Producers([
    ...SOURCES,
    ...stages.flatMap(({ name, variant, create }): Producer[] => {
      const outputs = create(variant).outputs
      // A stage of this name may have been an effect, or may become one: its outputs are then facts.
      const facts = outputs.filter(({ retention }) => retention !== 'derived')
      return [
        { ce_source: sourceOf(name), types: outputs.map(({ type }) => type) },
        { ce_source: factSourceOf(name), types: facts.map(({ type }) => type) },
      ]
    }),
  ])
}
