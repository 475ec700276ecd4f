import { directoryBlobs } from '../infra/blobs/directory.ts'
import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import type { Log } from '../infra/log/port/log.ts'
import { ModelSessions } from '../infra/models/model-sessions.ts'
import { topicsOf } from '../infra/runtime/state/topics.ts'
import { Worker } from '../infra/runtime/work/worker.ts'
import { sleep } from '../infra/sleep.ts'
import { sampleModel } from '../processors/sample-model/sample-model.ts'
import type { Event } from '../schemas/declare/event.ts'
import { modelPublished } from '../schemas/events/model.ts'
import { completionsSampled } from '../schemas/events/policy.ts'
import { rolloutRequested } from '../schemas/events/rollout.ts'
import { decodeEvent, encodeEvent } from '../schemas/wire/codec.ts'
import { homesOf } from '../schemas/wire/routing.ts'
import { catalogue } from '../streams/vocabulary.ts'
import { published } from '../testing/published-model.ts'
import { tinyDecoder } from '../testing/tiny-decoder.ts'
import { requested } from '../testing/tower-events.ts'
import { benchFolder } from './folder.ts'
import type { Gauge, OpenBench } from './pairs.ts'
import { PARTITIONS, vocabulary } from './tower-log.ts'

const ASK_EVERY_MS = 100
const GROUP_SIZE = 8
const LOOK_EVERY_MS = 2
const NEVER = new AbortController().signal

/** Milliseconds, of each model that was published. */
interface Readings {
  /** From the commit of `model.published` to the commit of the first completion by it. */
  readonly total: number[]
  /** Its file, from the store. */
  readonly fetch: number[]
  /** Loading it, and its first run. */
  readonly load: number[]
  /** Its second run, with the longest tokens. */
  readonly warm: number[]
  /** Its first run for a completion. */
  readonly token: number[]
}

/** How soon a published model answers, while groups flow. */
export const open: OpenBench = async ({ quick }) => {
  let reading: Promise<Readings> | undefined
  const of = (what: string, part: keyof Readings, goal?: number): Gauge => ({
    ...{ what, unit: 'ms' },
    ...(goal === undefined ? {} : { goal }),
    async values() {
      reading ??= readings(quick ? 3 : 41)
      const found = (await reading)[part]
      return goal === undefined ? found : [percentile(found, 0.95)]
    },
  })
  return {
    measures: [],
    gauges: [
      of('a published model to its first completion, 95th percentile', 'total', 300),
      of('of it: fetching the file', 'fetch'),
      of('of it: loading and the first run', 'load'),
      of('of it: the run with the longest tokens', 'warm'),
      of('of it: the first token of a completion', 'token'),
    ],
  }
}

async function readings(models: number): Promise<Readings> {
  const folder = await benchFolder()
  const log = await openLmdbLog({ dir: folder.fresh('log') })
  const blobs = directoryBlobs(folder.fresh('blobs'))
  const sessions = new ModelSessions()
  const found: Readings = { total: [], fetch: [], load: [], warm: [], token: [] }
  const runs = new Map<string, number>()
  let fetched_ms = 0
  const processor = sampleModel('policy')
  await log.createTopics(topicsOf(catalogue, [processor], PARTITIONS))
  const stop = new AbortController()
  const worker = new Worker({
    ...{ log, vocabulary, partitions: PARTITIONS, processor, instance: 'bench' },
    blobs: {
      ...{ put: blobs.put.bind(blobs), has: blobs.has.bind(blobs) },
      get: (ref, how) =>
        timed(blobs.get(ref, how), (ms) => {
          fetched_ms = ms
        }),
    },
    models: {
      run: (model, inputs, how) =>
        timed(sessions.run(model, inputs, how), (ms) => {
          const number = (runs.get(model.sha256) ?? 0) + 1
          runs.set(model.sha256, number)
          if (number === 1) {
            found.fetch.push(fetched_ms)
            found.load.push(ms - fetched_ms)
          } else if (number === 2) found.warm.push(ms)
          // The other tasks try it too, twice each.
          else if (number === 2 * PARTITIONS + 1) found.token.push(ms)
        }),
    },
  })
  const running = worker.run(stop.signal)
  const asking = ask(log, stop.signal)
  try {
    for (let version = 0; version < models; version++) {
      const bytes = tinyDecoder(String(version)).files.get('model.onnx') as Uint8Array
      const files = [{ name: 'model.onnx' as const, blob: await blobs.put(bytes, 'application/onnx') }]
      const ends = await log.endOffsets(completionsSampled.type)
      const model = { model_id: `m${version}`, version, ...tinyDecoder(String(version)).manifest, files }
      await append(log, modelPublished, published(model, { id: `m${version}` }) as unknown as Event)
      const from_ms = performance.now()
      await firstBy(log, `m${version}`, ends)
      // The first one starts the process that runs models.
      if (version > 0) found.total.push(performance.now() - from_ms)
      await sleep(100, NEVER)
    }
  } finally {
    stop.abort()
    await Promise.all([running, asking])
    await sessions.close()
    await log.close()
    await folder.remove()
  }
  return found
}

async function ask(log: Log, signal: AbortSignal): Promise<void> {
  for (let at = 0; !signal.aborted; at++) {
    const asked = { group_id: `g${at}`, group_size: GROUP_SIZE, seed: String(at) }
    await append(log, rolloutRequested, requested(asked, `r${at}`) as unknown as Event)
    await sleep(ASK_EVERY_MS, signal)
  }
}

async function append(log: Log, type: typeof modelPublished | typeof rolloutRequested, event: Event): Promise<void> {
  const producer = await log.producer({ transactional_id: `bench/${type.type}` })
  const transaction = producer.begin()
  const { key, headers, value } = encodeEvent(type, event)
  for (const home of homesOf(type, key, PARTITIONS)) transaction.append(type.type, home, { key, headers, value })
  await transaction.commit()
  await producer.close()
}

/** Resolves when a completion by this model is committed behind these ends. */
async function firstBy(log: Log, model_id: string, ends: readonly bigint[]): Promise<void> {
  const next = [...ends]
  for (;;) {
    for (const [partition, from] of next.entries()) {
      const { records, next: after } = await log.read({
        topic: completionsSampled.type,
        partition,
        from,
        max_bytes: 2 ** 20,
      })
      next[partition] = after
      for (const record of records) {
        const { data } = decodeEvent(record, vocabulary) as unknown as Event<typeof completionsSampled>
        if (data[0]?.model_id === model_id) return
      }
    }
    await sleep(LOOK_EVERY_MS, NEVER)
  }
}

async function timed<T>(work: Promise<T>, took: (ms: number) => void): Promise<T> {
  const from_ms = performance.now()
  const value = await work
  took(performance.now() - from_ms)
  return value
}

const percentile = (values: readonly number[], share: number) =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.ceil(values.length * share) - 1)] as number
