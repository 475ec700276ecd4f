import { askPolicy } from '../processors/ask-policy/ask-policy.ts'
import type { SamplingOptions } from '../processors/ask-policy/chat-request.ts'
import { isHttpPolicy, parseHttpPolicy } from '../processors/ask-policy/policy-name.ts'
import { formGroups } from '../processors/form-groups/form-groups.ts'
import { inputsOf, type Processor, type Stage } from '../processors/processor.ts'
import { sampleCompletions } from '../processors/sample-completions/sample-completions.ts'
import { paperScorer } from '../processors/score-completions/paper-scorer.ts'
import { scoreCompletions } from '../processors/score-completions/score-completions.ts'
import type { EventType } from '../schemas/declare/event.ts'
import { catalogue } from '../schemas/events/catalogue.ts'
import { clockTicked } from '../schemas/events/clock.ts'
import { completionsSampled } from '../schemas/events/policy.ts'
import { DIALECTS, rolloutRequested } from '../schemas/events/rollout.ts'
import { scenePresented } from '../schemas/events/tower.ts'
import { type Partitions, partitionsOf } from '../schemas/wire/partitions.ts'

export interface TopologyOptions {
  /**
   * A scripted policy; `openai(URL, MODEL)`; or `recorded(FILE.jsonl)`: completions are then ingested from outside, not
   * sampled.
   */
  readonly policy: string
  /** For a policy over HTTP; overrides the sampling options of requests. */
  readonly sampling?: SamplingOptions | undefined
  readonly dialect: (typeof DIALECTS)[number]
  readonly partitions: Partitions
  readonly sinks: readonly SinkName[]
}

/** Every sink that a run can have. `jsonl` needs a folder, so it is in no topology by default. */
export const SINKS = ['duckdb', 'jsonl'] as const
export type SinkName = (typeof SINKS)[number]

/** The data flow. Sources and sinks are only listed here, with their events; stages are created from it. */
export interface Topology {
  readonly partitions: Partitions
  /** Every event type; each has a topic and a table. */
  readonly events: readonly EventType[]
  readonly sources: readonly { readonly name: string; readonly outputs: readonly EventType[] }[]
  readonly stages: readonly Stage[]
  readonly sinks: readonly { readonly name: SinkName; readonly inputs: 'every event' }[]
}

export const DEFAULTS: TopologyOptions = {
  policy: 'noisy-oracle(150)',
  dialect: 'paper',
  partitions: 4,
  sinks: ['duckdb'],
}

/**
 * The whole wiring. A new processor is one file and one line in `stages`.
 *
 * @throws RangeError for an invalid policy or dialect, or partition counts that the processors cannot join.
 */
export async function topology(options: TopologyOptions): Promise<Topology> {
  const scorer = await paperScorer()
  const recorded = isRecorded(options.policy)
  const wiring: Topology = {
    partitions: options.partitions,
    events: catalogue,
    sources: [
      { name: 'tower-scenes', outputs: [scenePresented, rolloutRequested] },
      ...(recorded ? [{ name: 'recorded-completions', outputs: [completionsSampled] }] : []),
      { name: 'clock', outputs: [clockTicked] },
    ],
    stages: [
      ...(recorded ? [] : [samplingStage(options)]),
      stage(scoreCompletions(scorer), () => scoreCompletions(scorer)),
      stage(formGroups(options), ([dialect]) => formGroups({ dialect: dialectOf(dialect) })),
    ],
    sinks: options.sinks.map((name) => ({ name, inputs: 'every event' })),
  }
  expectJoinable(wiring)
  return wiring
}

/** @throws RangeError for an unregistered event type, or a processor whose inputs have different partition counts. */
function expectJoinable({ events, partitions, stages }: Topology): void {
  const unknown = typeof partitions === 'number' ? [] : Object.keys(partitions.by_event)
  for (const type of unknown) {
    if (events.some((event) => event.type === type)) continue
    throw new RangeError(
      `partitions of ${type}: no such event; there are ${events.map((event) => event.type).join(', ')}`,
    )
  }
  for (const { name, variant, create } of stages) {
    const counts = inputsOf(create(variant)).map(({ type }) => [type, partitionsOf(partitions, type)] as const)
    if (counts.every(([, count]) => count === counts[0]?.[1])) continue
    const found = counts.map(([type, count]) => `${type} has ${count}`).join(', ')
    throw new RangeError(`${name} joins its inputs by partition: expected equal counts, but ${found}`)
  }
}

/** All policies share one processor name, so that a request answered by one is not answered again by another. */
function samplingStage(options: TopologyOptions): Stage {
  const now = sampler(options)
  const isNow = (variant: readonly string[]) => JSON.stringify(variant) === JSON.stringify(now.variant)
  return stage(now, (variant) => (isNow(variant) ? now : samplerOf(variant)))
}

function sampler({ policy, sampling }: TopologyOptions): Processor {
  if (!isHttpPolicy(policy)) return sampleCompletions(policy)
  return askPolicy({ ...parseHttpPolicy(policy), ...(sampling === undefined ? {} : { sampling }) })
}

/** For rebuilding a journalled variant: a policy over HTTP is not called again, so it needs no address. */
function samplerOf([policy = '', model]: readonly string[]): Processor {
  return policy === 'openai' && model !== undefined ? askPolicy({ url: '', model }) : sampleCompletions(policy)
}

/** A stage that runs `processor` now, and can create any variant that a journal names. */
export function stage(processor: Processor, create: (variant: readonly string[]) => Processor): Stage {
  return { name: processor.name, variant: processor.variant, create }
}

export { isHttpPolicy }

export function isRecorded(policy: string): boolean {
  return policy.startsWith('recorded(')
}

/** @throws RangeError naming the valid dialects. */
export function dialectOf(name: string | undefined): (typeof DIALECTS)[number] {
  const found = DIALECTS.find((dialect) => dialect === name)
  if (found === undefined) throw new RangeError(`advantage dialect ${name}: expected one of ${DIALECTS.join(', ')}`)
  return found
}
