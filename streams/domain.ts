import type { SamplingOptions } from '../processors/ask-policy/chat-request.ts'
import type { Stage } from '../processors/processor.ts'
import type { ScriptedPolicies } from '../processors/scripted.ts'
import type { EventType } from '../schemas/declare/event.ts'
import type { Origin } from '../schemas/events/origin.ts'
import type { DIALECTS } from '../schemas/events/rollout.ts'
import type { Partitions } from '../schemas/wire/partitions.ts'
import type { Report } from '../sinks/duckdb/views/report.ts'
import type { View } from '../sinks/duckdb/views/view.ts'
import { SINK_KINDS } from '../sinks/kinds.ts'

/** Every sink that a run can have. All but the tables need a place, so they are in no topology by default. */
export const SINKS: readonly string[] = ['duckdb', ...SINK_KINDS.map(({ name }) => name)]

export interface TopologyOptions {
  /**
   * A scripted policy; `openai(URL, MODEL)`; `openai(URL, lineage:LINEAGE)`; `onnx(ROLE)`, the published model of a role;
   * or `recorded(FILE.jsonl)`: completions are then ingested from outside, not sampled.
   */
  readonly policy: string
  /** For a policy over HTTP; overrides the sampling options of requests. */
  readonly sampling?: SamplingOptions | undefined
  /** For a policy of a lineage: its server has the active version, and so many before it; default: 1. */
  readonly max_staleness?: number | undefined
  readonly dialect: (typeof DIALECTS)[number]
  readonly partitions: Partitions
  /** Some of `SINKS`. */
  readonly sinks: readonly string[]
}

/** What appends facts: a source of the flow, or a command. */
export interface FactSource {
  readonly name: string
  /** Every `ce_source` that it writes. One that ends in `/` is a prefix. */
  readonly ce_sources: readonly string[]
  readonly outputs: readonly EventType[]
}

/** A source of the flow. */
export interface SourceNode extends FactSource {
  /** Whether a topology of these options shows it; always when left out. Its facts stay in the log either way. */
  readonly runs_with?: (options: TopologyOptions) => boolean
}

/** What the domains of a pipeline declare for a stage that they share. */
export interface OfAllDomains {
  readonly origins: readonly Origin[]
  readonly scripted: readonly ScriptedPolicies[]
}

/**
 * Everything that belongs to one world, in one place: `topology` composes a pipeline of domains, and every command
 * knows what they declare.
 *
 * A domain lists each event that its parts read or emit, causes before effects. Domains may share events, by listing
 * the same declaration. Names of origins, sources, stages, views and reports are unique among the domains of a pipeline.
 */
export interface Domain {
  readonly name: string
  /** In one line. */
  readonly about: string
  /** Names of domains whose processors this one needs: a pipeline has them too, and `run --domain` runs them too. */
  readonly builds_on?: readonly string[]
  readonly events: readonly EventType[]
  /** Who asks policies for completions, in its name. */
  readonly origins?: readonly Origin[]
  /**
   * The scripted policies of its origins. One that has none is answered by policies over HTTP and recorded completions
   * alone: under a scripted policy its requests are read, stay unanswered, and expire.
   */
  readonly scripted?: () => Promise<readonly ScriptedPolicies[]>
  readonly sources: readonly SourceNode[]
  /** Commands that append facts. They are no part of the flow, and `verify` knows their events. */
  readonly commands?: readonly FactSource[]
  /** Transforms that a command runs over recorded events, by name, with what they derive. */
  readonly sweeps?: readonly { readonly name: string; readonly outputs: readonly EventType[] }[]
  /**
   * Creates the stages. Import processors in here: what only reads the vocabulary, as `tail` does, then loads none.
   *
   * @throws RangeError when the options do not give a processor.
   */
  stages(options: TopologyOptions, all: OfAllDomains): Promise<readonly Stage[]>
  /**
   * In an order in which each may build on those before it.
   *
   * @param origins of every domain of the pipeline
   */
  views(origins: readonly Origin[]): readonly View[]
  readonly reports?: readonly Report[]
}

/** A stage that runs `processor` now, and can create any variant that a journal names. */
export function stage(processor: ReturnType<Stage['create']>, create: Stage['create']): Stage {
  return { name: processor.name, variant: processor.variant, create }
}
