import { expect, test } from 'vitest'
import { causeOf, isA, type Transform, type TransformContext } from '../../../processors/processor.ts'
import { defineEvent, type Event, rowsOf } from '../../../schemas/declare/event.ts'
import { nullable, tensor, utf8 } from '../../../schemas/declare/logical-types.ts'
import { catalogueOf } from '../../../schemas/declare/registry.ts'
import { TensorRef } from '../../../schemas/declare/tensor-value.ts'
import { encodeEvent, offloadedBlobs } from '../../../schemas/wire/codec.ts'
import { appendRaw, recordsOf, runUntilRead } from '../../../testing/counting.ts'
import { example } from '../../../testing/test-driver.ts'
import { BlobMissingError, type Blobs } from '../../blobs/blobs.ts'
import { memoryBlobs } from '../../blobs/memory.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'
import { verifyStage } from '../../verify/verify-stage.ts'
import { decodeRecord } from '../execute/decode-record.ts'
import { deadLetters } from '../rebuild/retry-dead-letter.ts'
import { topicsOf } from '../state/topics.ts'

/** Flow fields of 128 KiB, which are stored outside of their events, and a transform over them. */

const SHAPE = [128, 128, 2]
const SIZE = 128 * 128 * 2
const shared = { version: 1, key: 'clip', retention: 'source', about: '', encoding: 'arrow' } as const
const row = { clip: utf8(), frame: utf8(), flow: tensor('float32', SHAPE), mask: nullable(tensor('uint8', [512, 512])) }
const computed = defineEvent({ ...shared, type: 'test.flow_computed', row })
const edited = defineEvent({ ...shared, type: 'test.flow_edited', row })
const EVENTS = [computed, edited]
const vocabulary = catalogueOf(EVENTS)

type Edit = (event: Event<typeof computed>, context: TransformContext) => Promise<void> | void

function editing(edit: Edit): Transform {
  return {
    shape: 'transform',
    name: 'edit',
    version: 1,
    about: 'edits flow fields',
    variant: [],
    produces: 'derived',
    inputs: [computed],
    outputs: [edited],
    max_batch: 4,
    async apply(events, context) {
      for (const event of events) if (isA(event, computed)) await edit(event, context)
    },
  }
}

const passingOn: Edit = (event, { emit }) => emit(edited, event.data, { causes: [causeOf(event)] })

const changingOne: Edit = async (event, { blobs, emit }) => {
  const data = []
  for (const each of event.data) {
    const flow = await blobs.load(each.flow)
    flow[7] = 0.5
    data.push({ ...each, flow })
  }
  emit(edited, data, { causes: [causeOf(event)] })
}

const flowOf = (seed: number) => Float32Array.from({ length: SIZE }, (_, at) => (seed * 1000 + at) / 8)
const clip = (name: string, ...masks: (Uint8Array | null)[]) =>
  example(
    computed,
    masks.map((mask, at) => ({ clip: name, frame: `frame ${at}`, flow: flowOf(at), mask })),
  )
const MASK = new Uint8Array(512 * 512).fill(3)

/** A log with two clips. */
async function recorded() {
  const log = memoryLog()
  const blobs = memoryBlobs()
  const read: string[] = []
  const watched: Blobs = {
    ...blobs,
    get(ref) {
      read.push(ref.sha256)
      return blobs.get(ref)
    },
  }
  await log.createTopics(topicsOf(EVENTS, [{ name: 'edit' }], 1))
  for (const event of [clip('one', MASK, null), clip('two', null)]) {
    const encoded = encodeEvent(computed, event)
    for (const { bytes, ref } of encoded.blobs) await blobs.put(bytes, ref.media_type)
    await appendRaw(log, computed.type, 0, encoded)
  }
  const run = (edit: Edit) => runUntilRead({ log, blobs: watched, processor: editing(edit), vocabulary, partitions: 1 })
  const verify = (edit: Edit, from: Blobs = watched) =>
    verifyStage(
      { name: 'edit', variant: [], create: () => editing(edit) },
      { log, blobs: from, vocabulary, partitions: 1 },
    )
  const outputs = async (tensors: 'references' | 'elements') => {
    const records = await recordsOf(log, edited.type)
    const events = await Promise.all(records.map((record) => decodeRecord(record, vocabulary, 1, blobs, tensors)))
    return events.flatMap((event) => rowsOf(event as Event))
  }
  return { log, blobs, read, run, verify, outputs }
}

test('a tensor that is passed on is neither read nor written again: both events name one blob', async () => {
  const { log, blobs, read, run, verify, outputs } = await recorded()
  await run(passingOn)
  expect(read).toEqual([])
  const refs = async (topic: string) => (await recordsOf(log, topic)).flatMap(offloadedBlobs)
  expect(await refs(edited.type)).toEqual(await refs(computed.type))
  const first = (await outputs('references')).map(({ flow }) => flow)[0] as TensorRef
  expect(first).toBeInstanceOf(TensorRef)
  expect(first.column).toMatchObject({
    rows: 2,
    numbers: 2 * SIZE,
    min: 0,
    max: (1000 + SIZE - 1) / 8,
  })
  expect((await outputs('elements')).map(({ flow, mask }) => [flow, mask])).toEqual([
    [flowOf(0), MASK],
    [flowOf(1), null],
    [flowOf(0), null],
  ])
  const none: Blobs = { ...blobs, get: () => expect.fail('verify read a blob') }
  expect(await verify(passingOn, none)).toMatchObject({ rebuilt: 2, equal: 2, differences: 0 })
})

test('a transform changes its own copy of a tensor, and verify finds the element that differs', async () => {
  const { run, verify, outputs } = await recorded()
  await run(changingOne)
  const changed = (seed: number) => flowOf(seed).with(7, 0.5)
  expect((await outputs('elements')).map(({ flow }) => flow)).toEqual([changed(0), changed(1), changed(0)])
  expect(await verify(changingOne)).toMatchObject({ rebuilt: 2, equal: 2, differences: 0 })
  const otherwise: Edit = async (event, context) =>
    await changingOne(event, {
      ...context,
      emit: (type, data, options) => {
        const rows = data as unknown as { flow: Float32Array }[]
        for (const { flow } of rows) flow[9] = 2
        context.emit(type, data, options)
      },
    })
  const report = await verify(otherwise)
  expect(report).toMatchObject({ differences: 2 })
  expect(report.first?.message).toBe('row 0 field flow[9]: recorded 1.125, rebuilt 2')
})

test('every load gives an array of its own, also of a tensor that was loaded and changed before', async () => {
  const { run, outputs } = await recorded()
  await run(async (event, { blobs: within, emit }) => {
    const data = []
    for (const each of event.data) {
      const loaded = await Promise.all([within.load(each.flow), within.load(each.flow)])
      for (const flow of loaded) flow.fill(9)
      data.push({ ...each, flow: await within.load(each.flow) })
      expect(new Set([...loaded, data.at(-1)?.flow].map((flow) => (flow as Float32Array).buffer)).size).toBe(3)
    }
    emit(edited, data, { causes: [causeOf(event)] })
  })
  const flows = [flowOf(0), flowOf(1), flowOf(0)]
  expect((await outputs('elements')).map(({ flow }) => flow)).toEqual(flows)
})

test('rows of a stored column can be passed on whole only; the error says to load them', async () => {
  const { log, run } = await recorded()
  await run((event, { emit }) => emit(edited, event.data.slice(0, 1), { causes: [causeOf(event)] }))
  const letters = []
  for await (const letter of deadLetters(log)) letters.push(letter.letter.error)
  expect(letters).toEqual([expect.stringMatching(/field flow: .*references to all 2 rows.*; load the tensors/)])
})

test('a tensor whose blob is lost makes a dead letter where it is loaded, and nowhere else', async () => {
  const { log, blobs } = await recorded()
  const lost: Blobs = { ...blobs, get: ({ sha256 }) => Promise.reject(new BlobMissingError(`blob ${sha256} is lost`)) }
  const run = (edit: Edit) => runUntilRead({ log, blobs: lost, processor: editing(edit), vocabulary, partitions: 1 })
  await run(async (event, context) => {
    if (event.key === 'one') passingOn(event, context)
    else await changingOne(event, context)
  })
  expect((await recordsOf(log, edited.type)).map(({ key }) => key)).toEqual(['one'])
  for await (const { letter } of deadLetters(log)) expect(letter).toMatchObject({ failure: 'poison' })
})
