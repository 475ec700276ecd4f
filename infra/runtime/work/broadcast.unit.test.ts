import { expect, test } from 'vitest'
import { z } from 'zod'
import { type Fold, isA, type Processor } from '../../../processors/processor.ts'
import { defineEvent, type Event, type EventType } from '../../../schemas/declare/event.ts'
import { int64, utf8 } from '../../../schemas/declare/logical-types.ts'
import { catalogueOf } from '../../../schemas/declare/registry.ts'
import { modelPublished } from '../../../schemas/events/model.ts'
import { decodeEvent } from '../../../schemas/wire/codec.ts'
import { partitionOf } from '../../../schemas/wire/routing.ts'
import { runSource } from '../../../sources/run-source.ts'
import { type Emitted, inSteps } from '../../../sources/source.ts'
import { recordsOf, runUntilRead } from '../../../testing/counting.ts'
import { published } from '../../../testing/published-model.ts'
import { example } from '../../../testing/test-driver.ts'
import { memoryBlobs } from '../../blobs/memory.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'
import type { Log } from '../../log/port/log.ts'
import { verifyStage } from '../../verify/verify-stage.ts'
import { changelogTopic } from '../internal/internal-topics.ts'
import { headerOf } from '../internal/json-records.ts'
import { replay } from '../rebuild/replay.ts'
import { topicsOf } from '../state/topics.ts'

/** Requests name the model that answers them, and each answer the version that its task used at that time. */

const PARTITIONS = 3
const MODELS = Array.from({ length: 24 }, (_, at) => `model-${at}`)
const json = { version: 1, key: 'model_id', encoding: 'json', about: '' } as const
const asked = defineEvent({ ...json, type: 'test.asked', retention: 'source', row: { model_id: utf8() } })
const answered = defineEvent({
  ...{ ...json, type: 'test.answered', retention: 'derived' },
  row: { model_id: utf8(), version: int64('0: none was published') },
})
const EVENTS: readonly EventType[] = [modelPublished, asked, answered]
const vocabulary = catalogueOf(EVENTS)

function answering(name: string): Fold<{ version: number }> {
  return {
    ...{ shape: 'fold', name, version: 1, about: 'answers with the model of its key', variant: [] },
    ...{ produces: 'derived', inputs: [asked, modelPublished], outputs: [answered] },
    state: { version: 1, schema: z.object({ version: z.int() }) },
    apply(state, event, emit) {
      if (isA(event, modelPublished)) return { version: event.data.version }
      emit(answered, { model_id: event.key, version: state?.version ?? 0 })
      return state
    },
  }
}

let unique = 0
async function append(log: Log, emitted: readonly Emitted[]): Promise<void> {
  const types = [asked, modelPublished]
  const source = inSteps({ name: `test-${unique++}`, types, steps: 1, produce: async () => emitted })
  await runSource(source, { log, blobs: memoryBlobs(), partitions: PARTITIONS })
}

const publish = (log: Log, version: number) =>
  append(
    log,
    MODELS.map((model) => {
      const event = published({ model_id: model, version }, { id: `${model}-v${version}` })
      return { type: modelPublished, event: event as unknown as Event }
    }),
  )
const ask = (log: Log) =>
  append(
    log,
    MODELS.map((model_id) => {
      const event = example(asked, { model_id }, { id: `asked-${unique++}` })
      return { type: asked, event: event as unknown as Event }
    }),
  )

const run = (log: Log, processor: Processor) => runUntilRead({ log, processor, vocabulary, partitions: PARTITIONS })

async function versionsEmitted(log: Log, name: string): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const record of await recordsOf(log, answered.type)) {
    const { source, data } = decodeEvent(record, vocabulary) as Event<typeof answered>
    if (source.endsWith(`/${name}`)) counts[String(data.version)] = (counts[String(data.version)] ?? 0) + 1
  }
  return counts
}

const verified = (log: Log, processor: Processor) =>
  verifyStage(
    { name: processor.name, variant: [], create: () => processor },
    { log, blobs: memoryBlobs(), vocabulary, partitions: PARTITIONS },
  )

test('a published model is in every partition, each task switches to it at its own place, and a rebuild does so there', async () => {
  expect(new Set(MODELS.map((model) => partitionOf(model, PARTITIONS))).size).toBe(PARTITIONS)
  const log = memoryLog()
  const [live, late] = [answering('live'), answering('late')]
  await log.createTopics(topicsOf(EVENTS, [live, late], PARTITIONS))

  await ask(log)
  await run(log, live)
  await publish(log, 1)
  await run(log, live)
  await ask(log)
  await run(log, live)
  // Both exist when it starts: its journal records which of them it read first, in each partition.
  await publish(log, 2)
  await ask(log)
  await run(log, live)
  await ask(log)
  await run(log, live)

  const copies = await recordsOf(log, modelPublished.type)
  expect(copies).toHaveLength(2 * MODELS.length * PARTITIONS)
  expect(new Set(copies.map((record) => headerOf(record, 'ce_id'))).size).toBe(2 * MODELS.length)

  const emitted = await versionsEmitted(log, 'live')
  expect(emitted['0']).toBe(MODELS.length)
  expect((emitted['1'] ?? 0) + (emitted['2'] ?? 0)).toBe(3 * MODELS.length)
  expect(emitted['1']).toBeGreaterThanOrEqual(MODELS.length)
  expect(emitted['2']).toBeGreaterThanOrEqual(MODELS.length)
  expect(await verified(log, live)).toMatchObject({
    rebuilt: 4 * MODELS.length,
    equal: 4 * MODELS.length,
    differences: 0,
  })

  // Every task has the state of every model.
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const keys = (await recordsOf(log, changelogTopic('live'))).filter((record) => record.partition === partition)
    expect(new Set(keys.map(({ key }) => key).filter((key) => key?.startsWith('model-'))).size).toBe(MODELS.length)
  }

  // A processor that is added later reads everything in its own order, and has the models from then on.
  await run(log, late)
  await ask(log)
  await run(log, late)
  const later = await versionsEmitted(log, 'late')
  expect(Object.values(later).reduce((sum, count) => sum + count, 0)).toBe(5 * MODELS.length)
  expect(later['2']).toBeGreaterThanOrEqual(MODELS.length)
  expect(await verified(log, late)).toMatchObject({ rebuilt: 5 * MODELS.length, differences: 0 })
})

test('a replay of the sources writes a published model once into each partition of the copy', async () => {
  const [log, copy] = [memoryLog(), memoryLog()]
  const blobs = memoryBlobs()
  await log.createTopics(topicsOf(EVENTS, [], PARTITIONS))
  await publish(log, 1)
  const { signal } = new AbortController()
  await replay({
    ...{ from: { log, blobs }, to: { log: copy, blobs }, name: 'replay/test', events: EVENTS, vocabulary },
    ...{ what: 'sources', speed: Number.POSITIVE_INFINITY, signal, partitions: 5 },
  })
  const places = (await recordsOf(copy, modelPublished.type)).map(({ key, partition }) => `${key}/${partition}`)
  expect(places.sort()).toEqual(MODELS.flatMap((model) => [0, 1, 2, 3, 4].map((at) => `${model}/${at}`)).sort())
})
