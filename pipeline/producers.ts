import { factSourceOf, sourceOf } from '../infra/ce-source.ts'
import { type Producer, Producers } from '../infra/verify/producers.ts'
import type { EventType } from '../schemas/declare/event.ts'
import type { Topology } from '../streams/topology.ts'

/** The event types that each `ce_source` may emit, as the domains of the topology declare them. */
export function producersOf({ fact_sources, sweeps, stages }: Topology): Producers {
  return new Producers([
    ...fact_sources.flatMap(({ ce_sources, outputs }) => ce_sources.map((source) => producer(source, outputs))),
    ...sweeps.map(({ name, outputs }) => producer(sourceOf(name), outputs)),
    ...stages.flatMap(({ name, variant, create }) => {
      const outputs = create(variant).outputs
      // A stage of this name may have been an effect, or may become one: its outputs are then facts.
      const facts = outputs.filter(({ retention }) => retention !== 'derived')
      return [producer(sourceOf(name), outputs), producer(factSourceOf(name), facts)]
    }),
  ])
}

const producer = (ce_source: string, outputs: readonly EventType[]): Producer => {
  return { ce_source, types: outputs.map(({ type }) => type) }
}
