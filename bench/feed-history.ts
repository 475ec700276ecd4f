import type { Log } from '../infra/log/port/log.ts'
import { topicsOf } from '../infra/runtime/state/topics.ts'
import { encodeEvent } from '../schemas/wire/codec.ts'
import { homesOf } from '../schemas/wire/routing.ts'
import { ConsumerState } from '../sinks/feed/consumer-state.ts'
import { saveCheckpoint } from '../sinks/feed/decide/checkpoint.ts'
import { Decisions } from '../sinks/feed/decide/decisions.ts'
import { lease } from '../sinks/feed/decide/lease.ts'
import { startRun } from '../sinks/feed/decide/run.ts'
import { applied, beginStep } from '../sinks/feed/decide/step.ts'
import { subscribe } from '../sinks/feed/decide/subscribe.ts'
import { DEFAULT_SUBSCRIPTION } from '../sinks/feed/subscription.ts'
import { catalogue } from '../streams/vocabulary.ts'
import { PARTITIONS } from './tower-log.ts'

const TIME = '2026-01-01T00:00:00.000Z'
const STEPS_PER_TRANSACTION = 500
const NOTHING_PUBLISHED = new Map<string, number>()

export interface HistoryOptions {
  readonly consumer: string
  readonly steps: number
  readonly groups_per_step: number
  readonly per_checkpoint: number
}

/** Appends the training events of a consumer, as the feed decides them, without the groups themselves. */
export async function appendHistory(
  log: Log,
  { consumer, steps, groups_per_step, per_checkpoint }: HistoryOptions,
): Promise<void> {
  await log.createTopics(topicsOf(catalogue, [], PARTITIONS))
  const producer = await log.producer({ transactional_id: 'bench' })
  let transaction = producer.begin()
  const state = new ConsumerState(consumer)
  const decide = <A>(decision: (decisions: Decisions) => A): A => {
    const decisions = new Decisions(state, TIME)
    const answer = decision(decisions)
    for (const { type, event } of decisions.made) {
      const { key, headers, value } = encodeEvent(type, event)
      for (const home of homesOf(type, key, PARTITIONS)) transaction.append(type.type, home, { key, headers, value })
      state.apply(event)
    }
    return answer
  }
  const begins = { topic_id: '', start: [], formed_before: [] }
  decide((decisions) => subscribe(state, decisions, DEFAULT_SUBSCRIPTION, begins))
  const run = { run: 'bench', attempt: 'bench', world_size: 1, resume: null, lineage: null }
  decide((decisions) => startRun(state, decisions, run, NOTHING_PUBLISHED))
  const caller = { epoch: 1, rank: 0 }
  let since: number[] = []
  let parent: string | null = null
  for (let step = 1; step <= steps; step++) {
    const draws = Array.from({ length: groups_per_step }, (_, at) => [groupAt((step - 1) * groups_per_step + at)])
    const wanted = { ...caller, request: String(step), groups: groups_per_step, bytes: 2 ** 26 }
    const leased = decide((decisions) => lease(state, decisions, wanted, draws, NOTHING_PUBLISHED))
    const groups = (leased?.groups ?? []).map(({ sequence }) => ({ sequence, lease: leased?.lease ?? 0 }))
    decide((decisions) => beginStep(state, decisions, { ...caller, step, groups }, NOTHING_PUBLISHED))
    const measured = { loss: 0.5, grad_norm: 1, tokens: 100, seconds: 1, metrics: {} }
    decide((decisions) => applied(state, decisions, { ...caller, step, ...measured }))
    since.push(...groups.map(({ sequence }) => sequence))
    if (step % per_checkpoint === 0) {
      const checkpoint = `step-${step}`
      const saved = { epoch: 1, checkpoint, parent, step, weights_sha256: 'w', groups: since }
      decide((decisions) => saveCheckpoint(state, decisions, saved, NOTHING_PUBLISHED))
      parent = checkpoint
      since = []
    }
    if (step % STEPS_PER_TRANSACTION !== 0) continue
    await transaction.commit()
    transaction = producer.begin()
  }
  await transaction.commit()
  await producer.close()
}

const groupAt = (at: number) => ({
  ...{ topic_id: '', partition: at % PARTITIONS, offset: Math.floor(at / PARTITIONS) },
  ...{ group_id: `group ${at} of the history`, policy_version_oldest: null, lineage: null, bytes: 100_000 },
})
