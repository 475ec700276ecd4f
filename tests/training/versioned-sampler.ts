import { createHash } from 'node:crypto'
import type { Log, LogRecord } from '../../infra/log/port/log.ts'
import { ResumingProducer } from '../../infra/runtime/work/resuming-producer.ts'
import { sleep } from '../../infra/sleep.ts'
import { openDataFolder } from '../../pipeline/data-folder.ts'
import { prepareLog, wiringOn } from '../../pipeline/wiring.ts'
import type { Event } from '../../schemas/declare/event.ts'
import { catalogueOf } from '../../schemas/declare/registry.ts'
import { modelPublished } from '../../schemas/events/model.ts'
import { completionsSampled, NO_MODEL, NO_TOKENS } from '../../schemas/events/policy.ts'
import { rolloutRequested } from '../../schemas/events/rollout.ts'
import { runStarted } from '../../schemas/events/training.ts'
import { decodeEvent, encodeEvent } from '../../schemas/wire/codec.ts'
import { sourceId } from '../../schemas/wire/identity.ts'
import { partitionsOf } from '../../schemas/wire/partitions.ts'
import { partitionOf } from '../../schemas/wire/routing.ts'
import { RECORDED_SOURCES } from '../../sources/ce-source.ts'

/**
 * A sampler that follows the models of a run, as an inference server does: versioned-sampler.ts DATA LOG. Its completions
 * differ in length; a long one takes longer, so that its version is older once it is there. Some of its servers are far
 * behind. It may be killed: completions and the place in the requests are one transaction.
 */
const [, , data = '', address = ''] = process.argv

const PAGE_BYTES = 1024 * 1024
const CONSUMER = 'lab'
/** Characters around the answer, how many groups of 100 have at most so many, and how long they take. */
const LENGTHS = [
  { of_100: 45, characters: 60, ms: 5 },
  { of_100: 80, characters: 600, ms: 60 },
  { of_100: 100, characters: 4_000, ms: 250 },
]
/** Of 100 groups, how many come from a server that has not been told of new weights for long. */
const FAR_BEHIND = 10
const STEPS_BEHIND = 8

interface Policy {
  readonly lineage: string
  readonly version: number
}

const global = { data, ...(address === '' ? {} : { log: address }), shared: false }
const folder = await openDataFolder(global, { create: true })
const wiring = await wiringOn(folder, {})
await prepareLog(folder, wiring)
const { log } = folder
const vocabulary = catalogueOf(wiring.events)

/** Calls `take` with each record of a partition, now and as they come. */
async function follow(of: Log, topic: string, partition: number, from: bigint, take: (record: LogRecord) => unknown) {
  for (let at = from; ; ) {
    const { records, next } = await of.read({ topic, partition, from: at, max_bytes: PAGE_BYTES })
    for (const record of records) await take(record)
    if (next === at) await sleep(25)
    at = next
  }
}

let now: Policy | undefined
const dataOf = <T>(record: LogRecord) => (decodeEvent(record, vocabulary) as Event).data as unknown as T

/** The last model; and after a resume the one of the checkpoint, because the others are undone. */
async function followModels(): Promise<void> {
  const [partition] = [partitionOf(CONSUMER, partitionsOf(wiring.partitions, runStarted.type))]
  const models = follow(log, modelPublished.type, 0, 0n, (record) => {
    const { lineage, version } = dataOf<Policy>(record)
    now = { lineage, version }
  })
  const runs = follow(log, runStarted.type, partition, 0n, (record) => {
    const { forked_from: fork, lineage } = dataOf<Event<typeof runStarted>['data']>(record)
    if (fork !== null && now?.lineage !== lineage) now = fork.version < 0 ? undefined : { ...fork }
  })
  await Promise.all([models, runs])
}

async function answer(partition: number): Promise<void> {
  const id = `training-test/sampler/${partition}`
  const producer = await ResumingProducer.open(log, { transactional_id: id, group: id })
  const [from = 0n] = producer.positions.map(({ next }) => next)
  await follow(log, rolloutRequested.type, partition, from, async (record) => {
    const request = decodeEvent(record, vocabulary) as Event<typeof rolloutRequested>
    const { group_id } = request.data
    const hash = createHash('sha256').update(group_id).digest()
    const [draw = 0, lag = 0] = [(hash[0] ?? 0) % 100, (hash[1] ?? 0) % 100]
    const length = LENGTHS.find(({ of_100 }) => draw < of_100) ?? LENGTHS[0]
    const policy = now
    const version = policy && Math.max(0, policy.version - (lag < FAR_BEHIND ? STEPS_BEHIND : 0))
    await sleep(length?.ms ?? 0)
    const event = sampled(request, hash, length?.characters ?? 0, policy?.lineage ?? null, version)
    const { key, headers, value } = encodeEvent(completionsSampled, event as unknown as Event)
    const to = partitionOf(key, partitionsOf(wiring.partitions, completionsSampled.type))
    await producer.commit(
      (transaction) => transaction.append(completionsSampled.type, to, { key, headers, value }),
      [{ topic: rolloutRequested.type, partition, next: record.offset + 1n }],
    )
  })
}

function sampled(
  { id, data: { group_id, group_size } }: Event<typeof rolloutRequested>,
  hash: Buffer,
  characters: number,
  lineage: string | null,
  version: number | undefined,
): Event<typeof completionsSampled> {
  const data = Array.from({ length: group_size }, (_, completion_index) => {
    const thought = 'It leans to the right. '.repeat(200).slice(0, characters - ((hash[2] ?? 0) % 20))
    const text = `${thought}<answer>${(hash[3 + completion_index] ?? 0) - 128}</answer>`
    const token_ids = Array.from({ length: Math.ceil(text.length / 4) }, (_, at) => at)
    return {
      ...NO_MODEL,
      ...NO_TOKENS,
      ...{ group_id, completion_index, attempt_id: `of ${id}`, policy: 'recorded(training-test)', text, lineage },
      ...{ token_ids, token_policy_version: version === undefined ? null : token_ids.map(() => version) },
      ...{ temperature: 1, top_p: null, top_k: null, max_tokens: null, stop: [], seed: null },
    }
  })
  return {
    ...{ id: sourceId(['training test', id]), source: `${RECORDED_SOURCES}training-test` },
    ...{ type: completionsSampled.type, version: completionsSampled.version, time: new Date().toISOString() },
    ...{ clock: 'wall', key: group_id, causes: [id], data },
  } as Event<typeof completionsSampled>
}

const partitions = partitionsOf(wiring.partitions, rolloutRequested.type)
await Promise.all([followModels(), ...Array.from({ length: partitions }, (_, partition) => answer(partition))])
