import { afterAll, expect, test } from 'vitest'
import { z } from 'zod'
import { fileOf, lastPublished, type Published } from '../../../processors/last-published.ts'
import {
  type AnyFold,
  type AnyTransform,
  type Broadcast,
  causeOf,
  type Fold,
  type Processor,
  type Transform,
} from '../../../processors/processor.ts'
import { defineEvent, type Event, type EventType } from '../../../schemas/declare/event.ts'
import { float32, int64, list, utf8 } from '../../../schemas/declare/logical-types.ts'
import { catalogueOf } from '../../../schemas/declare/registry.ts'
import { modelPublished } from '../../../schemas/events/model.ts'
import { decodeEvent } from '../../../schemas/wire/codec.ts'
import { runSource } from '../../../sources/run-source.ts'
import { inSteps } from '../../../sources/source.ts'
import { appendRaw, recordsOf, runUntilRead } from '../../../testing/counting.ts'
import { published } from '../../../testing/published-model.ts'
import { example } from '../../../testing/test-driver.ts'
import { linearOnnx } from '../../../testing/tiny-onnx.ts'
import { memoryBlobs } from '../../blobs/memory.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'
import { ModelSessions } from '../../models/model-sessions.ts'
import { verifyStage } from '../../verify/verify-stage.ts'
import { broadcastKey, isBroadcastKey } from '../execute/state-keys.ts'
import { StateVersionError } from '../execute/stored-state.ts'
import { changelogTopic } from '../internal/internal-topics.ts'
import { readJson, toJson } from '../internal/json-records.ts'
import { resetProcessor } from '../state/reset-positions.ts'
import { topicsOf } from '../state/topics.ts'

/** Questions of many keys, answered with the model that was published last: one state for all keys of a task. */

const PARTITIONS = 2
const PEOPLE = Array.from({ length: 12 }, (_, at) => `person-${at}`)
const json = { version: 1, key: 'who', encoding: 'json', about: '' } as const
const asked = defineEvent({ ...json, type: 'test.asked', retention: 'source', row: { who: utf8() } })
const answered = defineEvent({
  ...{ ...json, type: 'test.answered', retention: 'derived' },
  row: { who: utf8(), version: int64('0: none was published'), numbers: list(float32()) },
})
const EVENTS: readonly EventType[] = [modelPublished, asked, answered]
const vocabulary = catalogueOf(EVENTS)

const declared = {
  version: 1,
  about: '',
  variant: [],
  produces: 'derived',
  inputs: [asked],
  outputs: [answered],
} as const

/** Counts the questions of each key, so that it has states of both kinds. */
function folding(name: string, broadcast: Broadcast<Published | null> = lastPublished('policy')): AnyFold {
  const fold: Fold<number, Published | null> = {
    ...{ ...declared, shape: 'fold', name, broadcast },
    state: { version: 3, schema: z.int() },
    apply(questions = 0, event, emit, model) {
      emit(answered, { who: event.key, version: model?.version ?? 0, numbers: [questions] })
      return questions + 1
    },
  }
  return fold
}

const sessions = new ModelSessions()
afterAll(async () => await sessions.close())

/** Runs the model on a whole batch, whose size is among the answers: other batches would give other answers. */
function transforming(name: string, more: Partial<Transform<Published | null>> = {}): AnyTransform {
  const transform: Transform<Published | null> = {
    ...{ ...declared, shape: 'transform', name, max_batch: 5, broadcast: lastPublished('policy') },
    async apply(events, { emit, broadcast, models }) {
      const data = Float32Array.from(events.flatMap(() => [events.length, 1]))
      const weights = broadcast === null ? undefined : fileOf(broadcast, 'model.onnx')
      const outputs =
        weights && (await models.run(weights, { x: { dtype: 'float32', shape: [events.length, 2], data } }))
      for (const [at, event] of events.entries()) {
        const numbers = Array.from(outputs?.y?.data.slice(2 * at, 2 * at + 2) ?? [], Number)
        const model_hash = weights?.sha256
        const options = { causes: [causeOf(event)], ...(model_hash === undefined ? {} : { model_hash }) }
        emit(answered, { who: event.key, version: broadcast?.version ?? 0, numbers }, options)
      }
    },
    ...more,
  }
  return transform
}

let unique = 0

async function started(...processors: readonly Processor[]) {
  const log = memoryLog()
  const blobs = memoryBlobs()
  await log.createTopics(topicsOf(EVENTS, processors, PARTITIONS))
  const append = async (type: EventType, events: readonly Event[]) => {
    const produce = async () => events.map((event) => ({ type, event }))
    const source = inSteps({ name: `test-${unique++}`, types: [type], steps: 1, produce })
    await runSource(source, { log, blobs, partitions: PARTITIONS })
  }
  const common = { log, blobs, vocabulary, partitions: PARTITIONS, models: sessions }
  return {
    ...{ log, blobs },
    ask: (people = PEOPLE) =>
      append(
        asked,
        people.map((who) => example(asked, { who }, { id: `asked-${unique++}` }) as unknown as Event),
      ),
    async publish(version: number) {
      const blob = await blobs.put(linearOnnx(version, 0), 'application/onnx')
      const event = published(
        { model_id: `m${version}`, version, files: [{ name: 'model.onnx', blob }] },
        { id: `m${version}` },
      )
      await append(modelPublished, [event as unknown as Event])
    },
    run: (processor: Processor, tuning = {}) => runUntilRead({ ...common, processor, tuning }),
    verify: (processor: Processor) =>
      verifyStage({ name: processor.name, variant: [], create: () => processor }, common),
    async answers(): Promise<Event<typeof answered>[]> {
      const records = await recordsOf(log, answered.type)
      return records.map((record) => decodeEvent(record, vocabulary) as unknown as Event<typeof answered>)
    },
    async stored(processor: Processor) {
      const records = await recordsOf(log, changelogTopic(processor.name))
      return records.filter(({ key }) => key !== null && isBroadcastKey(key))
    },
  }
}

const versionsOf = (answers: readonly Event<typeof answered>[]) =>
  Object.groupBy(answers, ({ data }) => String(data.version))

test.each<[string, () => Processor]>([
  ['fold', () => folding('answer')],
  ['transform', () => transforming('answer')],
])(
  'every key of a %s is processed with the model that its task took up last, and a rebuild is equal',
  async (_, make) => {
    const processor = make()
    const { ask, publish, run, verify, answers, stored } = await started(processor)
    await ask()
    await run(processor)
    expect(versionsOf(await answers())).toEqual({ 0: expect.objectContaining({ length: PEOPLE.length }) })
    await publish(1)
    await run(processor)
    await ask()
    await run(processor)
    // Both are there when it runs: each task takes them up in an order of its own.
    await publish(2)
    await ask()
    await run(processor)
    await ask()
    await run(processor)

    const by_version = versionsOf(await answers())
    expect(by_version['1']?.length).toBeGreaterThanOrEqual(PEOPLE.length)
    expect(by_version['2']?.length).toBeGreaterThanOrEqual(PEOPLE.length)
    const report = await verify(processor)
    expect(report).toMatchObject({ rebuilt: 4 * PEOPLE.length, equal: 4 * PEOPLE.length, differences: 0 })
    // Stored once in each partition for each model; the states of keys, if any, beside them.
    const records = await stored(processor)
    expect(records.map((record) => record.partition).sort()).toEqual([0, 0, 1, 1])
    expect(report.states.keys).toBeGreaterThanOrEqual(PARTITIONS)
  },
)

test('each output of a model names its weights, and its batches do not cross a change of the model', async () => {
  const processor = transforming('answer')
  const { blobs, ask, publish, run, verify, answers } = await started(processor)
  const hashes = await Promise.all([1, 2].map((factor) => blobs.put(linearOnnx(factor, 0), 'application/onnx')))
  await publish(1)
  await run(processor)
  await ask()
  await publish(2)
  await ask()
  await run(processor)
  const given = await answers()
  expect(given).toHaveLength(2 * PEOPLE.length)
  for (const { data, model_hash } of given) {
    expect(model_hash).toBe(hashes[data.version - 1]?.sha256)
    const [events = 0, one] = data.numbers
    expect(one).toBe(data.version)
    expect(events / data.version).toBeLessThanOrEqual(5)
  }
  expect(await verify(processor)).toMatchObject({ rebuilt: 2 * PEOPLE.length, differences: 0 })
})

test.each<[string, () => Processor]>([
  ['fold', () => folding('answer')],
  ['transform', () => transforming('answer')],
])('a %s continues with its model after a restart, from the changelog and from a snapshot', async (_, make) => {
  const processor = make()
  const { ask, publish, run, answers } = await started(processor)
  await publish(1)
  await run(processor)
  for (const tuning of [{}, { snapshot_every: 1 }, {}]) {
    await ask()
    await run(processor, tuning)
  }
  expect(Object.keys(versionsOf(await answers()))).toEqual(['1'])
})

test('a model whose weights are not there yet is waited for: nothing is lost', async () => {
  const processor = transforming('answer')
  const { log, blobs, ask, publish, run, answers } = await started(processor)
  await publish(1)
  await run(processor)
  await ask()
  const empty = memoryBlobs()
  const common = { log, vocabulary, partitions: PARTITIONS, models: new ModelSessions(), processor }
  const stop = new AbortController()
  const notices: string[] = []
  const { Worker } = await import('./worker.ts')
  const worker = new Worker({
    ...{ ...common, blobs: { ...blobs, get: empty.get }, instance: 'waiting' },
    onEvent: (event) => {
      if (event.kind !== 'retrying') return
      notices.push(event.error.message)
      stop.abort()
    },
  })
  await worker.run(stop.signal)
  expect(notices[0]).toMatch(/^the weights of a published model cannot be read: /)
  expect(await answers()).toEqual([])
  await runUntilRead({ ...common, blobs })
  expect(await answers()).toHaveLength(PEOPLE.length)
})

const older: Broadcast<Published | null> = lastPublished('policy')
const renamed = z.object({ used: older.schema })
const newer = (upcast: boolean): Broadcast<{ used: Published | null }> => ({
  name: older.name,
  inputs: older.inputs,
  version: older.version + 1,
  schema: renamed as never,
  initial: { used: null },
  apply: ({ used }, event) => ({ used: older.apply(used, event) }),
  ...(upcast ? { upcast: { [older.version]: (state: unknown) => ({ used: state as Published | null }) } } : {}),
})

test.each([
  ['is upcast', true],
  ['without an upcaster is made again from the log, and no model is run for it', false],
])('a broadcast state of an earlier version %s', async (_, upcast) => {
  const before = transforming('answer')
  const { ask, publish, run, verify, answers } = await started(before)
  await publish(1)
  await run(before)
  await ask()
  await run(before)
  let calls = 0
  const after = transforming('answer', {
    broadcast: newer(upcast) as never,
    async apply(events, { emit, broadcast }) {
      calls++
      const { used } = broadcast as unknown as { used: Published | null }
      for (const event of events) {
        emit(
          answered,
          { who: event.key, version: 10 + (used?.version ?? 0), numbers: [] },
          { causes: [causeOf(event)] },
        )
      }
    },
  })
  await run(after)
  expect(calls).toBe(0)
  await ask(['person-0'])
  await run(after)
  const versions = (await answers()).map(({ data }) => data.version)
  expect(versions.filter((version) => version !== 1)).toEqual([11])
  expect((await verify(after)).first?.kind).not.toBe('state')
  await publish(2)
  await run(after)
  await expect(run(before)).rejects.toThrow(StateVersionError)
})

test('verify finds a broadcast state that the events do not give', async () => {
  const processor = folding('answer')
  const { log, ask, publish, run, verify, stored } = await started(processor)
  await publish(1)
  await ask()
  await run(processor)
  const record = (await stored(processor)).find(({ partition }) => partition === 0)
  if (record === undefined) throw new Error('no broadcast state was stored')
  const entry = readJson(record) as { state: { state: Published } }
  entry.state.state.version = 7
  await appendRaw(log, changelogTopic('answer'), 0, {
    key: broadcastKey('published/policy'),
    headers: [],
    value: toJson(entry),
  })
  const report = await verify(processor)
  expect(report.first).toMatchObject({ kind: 'state', where: expect.stringContaining('broadcast state') })
})

test('a reset forgets the broadcast state of a transform too', async () => {
  const processor = transforming('answer')
  const { log, ask, publish, run, stored } = await started(processor)
  await publish(1)
  await ask()
  await run(processor)
  expect(await resetProcessor(log, processor)).toMatchObject({ keys: PARTITIONS })
  const last = new Map((await stored(processor)).map(({ partition, value }) => [partition, value]))
  expect([...last]).toEqual([
    [0, null],
    [1, null],
  ])
})

test.each<[string, (role: 'policy' | 'router') => Processor]>([
  ['fold', (role) => folding('answer', lastPublished(role))],
  ['transform', (role) => transforming('answer', { broadcast: lastPublished(role), variant: [role] })],
])('variants of a %s with other models continue with their own, also from a snapshot', async (_, make) => {
  const [policy, router] = [make('policy'), make('router')]
  const { ask, publish, run, answers, stored } = await started(policy)
  await publish(1)
  await run(policy)
  for (const tuning of [{}, { snapshot_every: 1 }]) {
    await ask()
    await run(router, tuning)
    await ask()
    await run(policy, tuning)
  }
  // Nobody published a router.
  const by_version = versionsOf(await answers())
  expect(Object.entries(by_version).map(([version, all]) => [version, all?.length])).toEqual([
    ['0', 2 * PEOPLE.length],
    ['1', 2 * PEOPLE.length],
  ])
  expect((await stored(policy)).length).toBeGreaterThan(0)
})
