import { expect, test } from 'vitest'
import { causeOf, isA, type Transform, type TransformContext } from '../../../processors/processor.ts'
import { defineEvent, type Event } from '../../../schemas/declare/event.ts'
import { blob, utf8 } from '../../../schemas/declare/logical-types.ts'
import { catalogueOf } from '../../../schemas/declare/registry.ts'
import { encodeEvent } from '../../../schemas/wire/codec.ts'
import { appendRaw, recordsOf, runUntilRead } from '../../../testing/counting.ts'
import { example, testDriver } from '../../../testing/test-driver.ts'
import { sha256Of } from '../../blobs/hashing.ts'
import { memoryBlobs } from '../../blobs/memory.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'
import { verifyStage } from '../../verify/verify-stage.ts'
import { deadLetters, type FoundLetter } from '../rebuild/retry-dead-letter.ts'
import { topicsOf } from '../state/topics.ts'
import { Worker } from './worker.ts'

/** Pictures, and a transform that stores each of them backwards. */

const shared = { version: 1, key: 'who', retention: 'source', about: '', encoding: 'json' } as const
const row = { who: utf8(), picture: blob() }
const taken = defineEvent({ ...shared, type: 'test.taken', row })
const turned = defineEvent({ ...shared, type: 'test.turned', row })
const EVENTS = [taken, turned]
const vocabulary = catalogueOf(EVENTS)

type Turn = (event: Event<typeof taken>, context: TransformContext) => Promise<void> | void

const turn: Turn = async (event, { blobs, emit }) => {
  const picture = await blobs.put((await blobs.get(event.data.picture)).toReversed(), 'image/x')
  emit(turned, { who: event.key, picture }, { causes: [causeOf(event)] })
}

function turning(one: Turn = turn): Transform {
  return {
    shape: 'transform',
    name: 'turn',
    version: 1,
    about: 'turns pictures',
    variant: [],
    produces: 'derived',
    inputs: [taken],
    outputs: [turned],
    max_batch: 4,
    async apply(events, context) {
      for (const event of events) if (isA(event, taken)) await one(event, context)
    },
  }
}

const pictureOf = (who: string) => Buffer.from(`picture of ${who}`)
const backwards = (who: string) => Buffer.from(pictureOf(who).toReversed())

/** A log with a picture of each of them. */
async function recorded(...people: readonly string[]) {
  const log = memoryLog()
  const blobs = memoryBlobs()
  await log.createTopics(topicsOf(EVENTS, [{ name: 'turn' }], 1))
  for (const who of people) {
    const picture = await blobs.put(pictureOf(who), 'image/x')
    await appendRaw(log, taken.type, 0, encodeEvent(taken, example(taken, { who, picture })))
  }
  const run = (processor = turning(), more = {}) =>
    runUntilRead({ log, blobs, processor, vocabulary, partitions: 1, ...more })
  return { log, blobs, run }
}

async function turnedIn(log: ReturnType<typeof memoryLog>): Promise<readonly string[]> {
  return (await recordsOf(log, turned.type)).map(({ key }) => String(key))
}

async function lettersOf(log: ReturnType<typeof memoryLog>): Promise<FoundLetter[]> {
  const letters: FoundLetter[] = []
  for await (const letter of deadLetters(log)) letters.push(letter)
  return letters
}

const refTo = (bytes: Uint8Array) => ({ sha256: sha256Of(bytes), bytes: bytes.byteLength, media_type: 'image/x' })

test('what a transform puts is stored before the commit that names it', async () => {
  const { log, blobs, run } = await recorded('ann')
  const committed_when_put: unknown[] = []
  await run(turning(), {
    blobs: {
      ...blobs,
      async put(bytes: Uint8Array, media_type: string) {
        const ref = await blobs.put(bytes, media_type)
        committed_when_put.push(await turnedIn(log))
        return ref
      },
    },
  })
  expect(committed_when_put).toEqual([[]])
  expect(await turnedIn(log)).toEqual(['ann'])
  expect(Buffer.from(await blobs.get(refTo(backwards('ann'))))).toEqual(backwards('ann'))
})

test('a failed call stores nothing; the other events of its batch are processed', async () => {
  const { log, blobs, run } = await recorded('ann', 'bob', 'cat')
  const scratch = Buffer.from('of a call that fails')
  await run(
    turning(async (event, context) => {
      if (event.key === 'bob') {
        await context.blobs.put(scratch, 'image/x')
        throw new Error('cannot turn this one')
      }
      await turn(event, context)
    }),
  )
  expect(await turnedIn(log)).toEqual(['ann', 'cat'])
  expect((await lettersOf(log)).map(({ letter }) => [letter.failure, letter.error])).toEqual([
    ['bug', 'cannot turn this one'],
  ])
  expect(await blobs.has(refTo(scratch))).toBe(false)
})

test('an event that names a blob which the store lacks is a dead letter, not a bug of the transform', async () => {
  const { log, run } = await recorded('ann')
  const picture = refTo(Buffer.from('never put'))
  await appendRaw(log, taken.type, 0, encodeEvent(taken, example(taken, { who: 'bob', picture })))
  await run()
  expect(await turnedIn(log)).toEqual(['ann'])
  const [letter] = await lettersOf(log)
  expect([letter?.letter.failure, letter?.letter.error]).toEqual(['poison', expect.stringContaining(picture.sha256)])
})

test('verify recomputes what was put and writes none of it', async () => {
  const { log, blobs, run } = await recorded('ann', 'bob')
  await run()
  const put = () => expect.fail('verify wrote a blob')
  const verify = (processor: Transform) =>
    verifyStage(
      { name: 'turn', variant: [], create: () => processor },
      { log, blobs: { ...blobs, put }, vocabulary, partitions: 1 },
    )
  expect(await verify(turning())).toMatchObject({ rebuilt: 2, equal: 2, differences: 0 })

  const elsewhere = turning(async (event, context) => {
    const picture = await context.blobs.put(Buffer.from(event.key), 'image/x')
    context.emit(turned, { who: event.key, picture }, { causes: [causeOf(event)] })
  })
  const report = await verify(elsewhere)
  expect(report).toMatchObject({ rebuilt: 2, equal: 0, differences: 2 })
  expect(report.first?.message).toContain(`recorded "${sha256Of(backwards('ann')).slice(0, 50)}`)
})

test('a transform can read what it has just put, and a test can read it afterwards', async () => {
  const twice: Turn = async (event, context) => {
    const once = await context.blobs.put((await context.blobs.get(event.data.picture)).toReversed(), 'image/x')
    await turn({ ...event, data: { ...event.data, picture: once } }, context)
  }
  const driver = testDriver(turning(twice))
  const picture = await driver.blobs.put(pictureOf('ann'), 'image/x')
  await driver.given(example(taken, { who: 'ann', picture }))
  expect(driver.emitted(turned).map(({ data }) => data.picture)).toEqual([picture])
  expect(await driver.blobs.has(refTo(backwards('ann')))).toBe(true)
})

test('bytes that a transform changes after it has put them are never committed under another name', async () => {
  const { log, run } = await recorded('ann')
  const careless = turning(async (event, { blobs, emit }) => {
    const bytes = Buffer.from(event.key)
    const picture = await blobs.put(bytes, 'image/x')
    emit(turned, { who: event.key, picture }, { causes: [causeOf(event)] })
    bytes.fill(0)
  })
  await expect(run(careless)).rejects.toThrow(/they were changed between the call of put and the commit/)
  expect(await turnedIn(log)).toEqual([])
})

/** Waits for the signal on the first call for `who`, and reports that it waits. */
function waitingFor(who: string) {
  const { promise: waits, resolve: begins } = Promise.withResolvers<void>()
  const reasons: string[] = []
  const processor = turning(async (event, context) => {
    if (event.key === who && reasons.length === 0) {
      begins()
      await new Promise<void>((resolve) => context.signal.addEventListener('abort', () => resolve(), { once: true }))
      reasons.push((context.signal.reason as Error).name)
      context.signal.throwIfAborted()
    }
    await turn(event, context)
  })
  return { processor, waits, reasons }
}

test('a stop aborts a slow transform; the next worker processes the same events once', async () => {
  const { log, blobs, run } = await recorded('ann', 'bob')
  const { processor, waits, reasons } = waitingFor('bob')
  const events: string[] = []
  const worker = new Worker({
    ...{ log, blobs, processor, vocabulary, partitions: 1, instance: 'stopped' },
    onEvent: ({ kind }) => events.push(kind),
  })
  const stop = new AbortController()
  const running = worker.run(stop.signal)
  await waits
  stop.abort()
  await running
  expect(reasons).toEqual(['TaskAbortedError'])
  expect(events).not.toContain('retrying')
  expect(await turnedIn(log)).toEqual([])
  await run(processor)
  expect(await turnedIn(log)).toEqual(['ann', 'bob'])
})

test('a commit that fails aborts the transform that computes the next one', async () => {
  const { log, blobs } = await recorded('ann')
  const { processor, waits, reasons } = waitingFor('bob')
  const stop = new AbortController()
  const allowed = Promise.withResolvers<void>()
  let commits = 0
  const worker = new Worker({
    ...{ log, processor, vocabulary, partitions: 1, instance: 'fenced' },
    blobs: {
      ...blobs,
      async put(bytes, media_type) {
        if (commits++ === 0) await allowed.promise
        return await blobs.put(bytes, media_type)
      },
    },
    tuning: { commit_interval_ms: 1 },
  })
  const running = worker.run(stop.signal)
  await expect.poll(() => commits).toBe(1)
  const picture = await blobs.put(pictureOf('bob'), 'image/x')
  await appendRaw(log, taken.type, 0, encodeEvent(taken, example(taken, { who: 'bob', picture })))
  await waits
  // Another process opens the same producer: the commit under way is fenced.
  const other = await log.producer({ transactional_id: 'turn/fenced' })
  allowed.resolve()
  await expect.poll(() => turnedIn(log)).toEqual(['ann', 'bob'])
  expect(reasons).toEqual(['FencedError'])
  stop.abort()
  await running
  await other.close()
})
