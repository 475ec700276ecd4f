import type { Stage } from '../processors/processor.ts'
import type { EventType } from '../schemas/declare/event.ts'
import { clockTicked } from '../schemas/events/clock.ts'
import { modelActivated, modelPublished, modelRefused } from '../schemas/events/model.ts'
import type { Origin } from '../schemas/events/origin.ts'
import type { Partitions } from '../schemas/wire/partitions.ts'
import type { Report } from '../sinks/duckdb/views/report.ts'
import type { View } from '../sinks/duckdb/views/view.ts'
import { PUBLISHED_SOURCES, publishable } from '../sinks/feed/doors/publishable.ts'
import { CLOCK_SOURCE, MODEL_SOURCES } from '../sources/ce-source.ts'
import type { Domain, FactSource, SourceNode, TopologyOptions } from './domain.ts'
import {
  distinctEvents,
  expectBroadcast,
  expectDerived,
  expectFoundations,
  expectJoinable,
  expectListed,
  expectScripted,
  expectUnique,
} from './expect-sound.ts'
import { rollouts } from './rollouts.ts'
import { tower } from './tower.ts'
import { training } from './training.ts'

/** The data flow, composed of domains. Sources and sinks are only listed here; stages are created from it. */
export interface Topology {
  readonly partitions: Partitions
  /** Every event type; each has a topic and a table. */
  readonly events: readonly EventType[]
  readonly sources: readonly SourceNode[]
  readonly stages: readonly Stage[]
  readonly sinks: readonly { readonly name: string; readonly inputs: 'every event' }[]
  readonly views: readonly View[]
  /** Which stages are of which domain, and on which others it builds. */
  readonly domains: readonly {
    readonly name: string
    readonly builds_on: readonly string[]
    readonly stages: readonly string[]
  }[]
  /** Everything that appends facts, in this flow or not: their facts stay in the log. */
  readonly fact_sources: readonly FactSource[]
  /** Transforms that a command runs over recorded events. */
  readonly sweeps: NonNullable<Domain['sweeps']>
}

/** The domains of this program. A new one is a file, and its name here. */
export const DOMAINS: readonly Domain[] = [
  rollouts, // what is shared by worlds that ask policies for completions
  tower, // block towers
  training, // what trainers do with groups
]

/** What every pipeline has, whatever its domains. */
const COMMON = {
  events: [modelPublished, modelActivated, modelRefused, clockTicked],
  sources: [{ name: 'clock', ce_sources: [CLOCK_SOURCE], outputs: [clockTicked] }],
} satisfies Partial<Domain>

export const DEFAULTS: TopologyOptions = {
  policy: 'noisy-oracle(150)',
  dialect: 'paper',
  partitions: 4,
  sinks: ['duckdb'],
}

/**
 * Composes domains to one pipeline.
 *
 * @throws RangeError for an invalid policy or dialect, partition counts that the processors cannot join, a name that two
 * domains use, a domain that builds on one that is not there, an event that a stage reads or emits and no domain lists,
 * or one of a broadcast state that is not routed to every partition.
 */
export async function topology(options: TopologyOptions, domains: readonly Domain[] = DOMAINS): Promise<Topology> {
  expectUnique('domain', domains)
  expectFoundations(domains)
  const events = eventsOf(domains)
  const sources: readonly SourceNode[] = [...domains.flatMap((domain) => domain.sources), ...COMMON.sources]
  const origins = originsOf(domains)
  const scripted = (await Promise.all(domains.map((domain) => domain.scripted?.() ?? []))).flat()
  const stages = await Promise.all(domains.map((domain) => domain.stages(options, { origins, scripted })))
  const made = stages.flat().map((stage) => ({ stage, processor: stage.create(stage.variant) }))
  const wiring: Topology = {
    partitions: options.partitions,
    events,
    sources: inFlow(
      events,
      sources.filter(({ runs_with }) => runs_with?.(options) ?? true),
      ({ outputs }) => outputs,
    ),
    stages: inFlow(events, made, ({ processor }) => processor.inputs).map(({ stage }) => stage),
    sinks: options.sinks.map((name) => ({ name, inputs: 'every event' })),
    views: viewsOf(domains),
    domains: domains.map(({ name, builds_on = [] }, at) => {
      return { name, builds_on, stages: (stages[at] ?? []).map((stage) => stage.name) }
    }),
    fact_sources: [...sources, ...domains.flatMap(({ commands = [] }) => commands), ...published(events)],
    sweeps: domains.flatMap((domain) => domain.sweeps ?? []),
  }
  expectUnique('origin', origins)
  expectScripted(origins, scripted)
  expectUnique('source', wiring.fact_sources)
  expectUnique('stage', [...wiring.stages, ...wiring.sweeps])
  const wired = { ...wiring, processors: made.map(({ processor }) => processor) }
  expectListed(wired)
  expectBroadcast(wired)
  expectDerived(origins, wired)
  expectJoinable(wired)
  return wiring
}

/** What other programs append through the feed, and models. They are no part of the flow, and `verify` knows them. */
const published = (events: readonly EventType[]): readonly FactSource[] => [
  { name: 'events', ce_sources: [PUBLISHED_SOURCES], outputs: publishable(events) },
  { name: 'models', ce_sources: [MODEL_SOURCES], outputs: [modelPublished] },
]

/** Every event of these domains, one that several share once. @throws RangeError when two declarations of one type differ */
export function eventsOf(domains: readonly Domain[]): readonly EventType[] {
  return distinctEvents([...domains.map((domain) => domain.events), COMMON.events])
}

const originsOf = (domains: readonly Domain[]): readonly Origin[] => domains.flatMap((domain) => domain.origins ?? [])

/** In the order in which events flow through them: by the last of these events of each. */
function inFlow<P>(events: readonly EventType[], parts: readonly P[], of: (part: P) => readonly EventType[]): P[] {
  const places = new Map(events.map(({ type }, place) => [type, place]))
  const placed = parts.map((part) => ({
    part,
    place: Math.max(-1, ...of(part).map(({ type }) => places.get(type) ?? -1)),
  }))
  return placed.sort((one, other) => one.place - other.place).map(({ part }) => part)
}

/** Every view of these domains. @throws RangeError for a name that two of them have */
export function viewsOf(domains: readonly Domain[]): readonly View[] {
  const origins = originsOf(domains)
  const views = domains.flatMap((domain) => domain.views(origins))
  // The sink makes the view `docs` itself.
  expectUnique('view', [...views, { name: 'docs' }])
  return views
}

/** Every report of these domains. @throws RangeError for a name that two of them have */
export function reportsOf(domains: readonly Domain[]): readonly Report[] {
  const reports = domains.flatMap((domain) => domain.reports ?? [])
  expectUnique('report', reports)
  return reports
}
