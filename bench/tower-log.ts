import { createHash } from 'node:crypto'
import type { Blobs } from '../infra/blobs/blobs.ts'
import type { Log } from '../infra/log/port/log.ts'
import { execute } from '../infra/runtime/execute/execution.ts'
import { reachOf } from '../infra/runtime/state/rerun.ts'
import { topicsOf } from '../infra/runtime/state/topics.ts'
import { lagOf } from '../infra/runtime/watch/lag.ts'
import { Worker } from '../infra/runtime/work/worker.ts'
import { inputTopics, type Processor } from '../processors/processor.ts'
import { sampleCompletions } from '../processors/sample-completions/sample-completions.ts'
import { towerPolicies } from '../processors/sample-completions/tower-policies.ts'
import type { Event } from '../schemas/declare/event.ts'
import { type Catalogue, catalogueOf } from '../schemas/declare/registry.ts'
import { rolloutRequested } from '../schemas/events/rollout.ts'
import { encodeEvent } from '../schemas/wire/codec.ts'
import { partitionOf } from '../schemas/wire/routing.ts'
import type { Emitted } from '../sources/source.ts'
import { towerScenes } from '../sources/tower-scenes.ts'
import { catalogue } from '../streams/vocabulary.ts'

/** Logs of the tower loop for benchmarks: outputs of a generator and a scripted policy, 16 completions to a group. */

export const PARTITIONS = 4
export const vocabulary: Catalogue = catalogueOf(catalogue)

/** Blobs that are not stored: a benchmark never reads one back. */
export const noBlobs: Blobs = {
  put: async (bytes, media_type) => ({
    sha256: createHash('sha256').update(bytes).digest('hex'),
    bytes: bytes.byteLength,
    media_type,
  }),
  get: async ({ sha256 }) => {
    throw new Error(`blob ${sha256} was not kept`)
  },
  has: async () => false,
}

/** Scenes and requests of `groups` groups. */
export async function requests(groups: number): Promise<readonly Emitted[]> {
  const source = towerScenes(
    {
      dataset: 'side_block',
      task: 'x_y',
      split: 'train',
      variant: 'plain',
      purpose: 'train',
      scenes: groups,
      seed: 'bench',
      group_size: 16,
      round: 0,
    },
    noBlobs,
  )
  return await source.produce(0, groups, new AbortController().signal)
}

/** The outputs of a processor for these events, in their order. */
export async function emittedBy(processor: Processor, events: readonly Emitted[]): Promise<readonly Emitted[]> {
  const types = new Set(processor.inputs.map(({ type }) => type))
  const inputs = events.filter(({ type }) => types.has(type.type)).map(({ event }) => event)
  const { outputs, failures } = await execute(processor, reachOf({ blobs: noBlobs })).process(inputs)
  if (failures[0] !== undefined) throw failures[0].error
  return outputs
}

/** Requests and the completions that a random policy gives to each. */
export async function sampledGroups(groups: number): Promise<readonly Emitted[]> {
  const asked = await requests(groups)
  return [...asked, ...(await emittedBy(sampleCompletions('random-legal', [towerPolicies]), asked))]
}

/** Makes the topics and appends the events, some hundred to a transaction. */
export async function appendAll(log: Log, events: readonly Emitted[], processors: readonly Processor[]): Promise<void> {
  await log.createTopics(topicsOf(catalogue, processors, PARTITIONS))
  const producer = await log.producer({ transactional_id: 'bench' })
  for (let from = 0; from < events.length; from += 500) {
    const transaction = producer.begin()
    for (const { type, event } of events.slice(from, from + 500)) {
      const { key, headers, value } = encodeEvent(type, event)
      transaction.append(type.type, partitionOf(event.key, PARTITIONS), { key, headers, value })
    }
    await transaction.commit()
  }
  await producer.close()
}

/**
 * Starts a worker and resolves when it has committed the whole log.
 * @returns a function that stops it
 */
export async function workThrough(log: Log, processor: Processor, blobs = noBlobs): Promise<() => Promise<void>> {
  const stop = new AbortController()
  let moved = () => {}
  const onEvent = () => moved()
  const options = { log, blobs, processor, vocabulary, partitions: PARTITIONS, instance: 'bench', onEvent }
  const running = new Worker(options).run(stop.signal)
  const ended = running.then(() => {
    throw new Error(`${processor.name} stopped before it had read everything`)
  })
  ended.catch(() => {})
  while ((await lagOf(log, processor.name, inputTopics(processor))) > 0n) {
    await Promise.race([new Promise<void>((resolve) => (moved = resolve)), ended])
  }
  return async () => {
    stop.abort()
    await running
  }
}

export function rowCount(events: readonly { readonly event: Event }[]): number {
  return events.reduce((sum, { event }) => sum + (Array.isArray(event.data) ? event.data.length : 1), 0)
}

export const isRequest = ({ type }: Emitted) => type.type === rolloutRequested.type
