import sharp from 'sharp'
import { afterAll, expect, test } from 'vitest'
import { memoryBlobs } from '../../infra/blobs/memory.ts'
import { withShortPolls } from '../../infra/log/conformance/altered-log.ts'
import { memoryLog } from '../../infra/log/memory/memory-log.ts'
import { ModelSessions } from '../../infra/models/model-sessions.ts'
import { topicsOf } from '../../infra/runtime/state/topics.ts'
import { Worker, type WorkerEvent } from '../../infra/runtime/work/worker.ts'
import { verifyStage } from '../../infra/verify/verify-stage.ts'
import type { DataOf, Event, EventType } from '../../schemas/declare/event.ts'
import { catalogueOf } from '../../schemas/declare/registry.ts'
import { modelPublished, modelRefused, type modelPublished as Published } from '../../schemas/events/model.ts'
import { completionsSampled } from '../../schemas/events/policy.ts'
import { rolloutRequested } from '../../schemas/events/rollout.ts'
import { decodeEvent } from '../../schemas/wire/codec.ts'
import { runSource } from '../../sources/run-source.ts'
import { inSteps } from '../../sources/source.ts'
import { catalogue } from '../../streams/vocabulary.ts'
import { recordsOf, runUntilRead } from '../../testing/counting.ts'
import { published } from '../../testing/published-model.ts'
import { LONGEST, ROWS, type TinyDecoder, tinyDecoder, VOCABULARY } from '../../testing/tiny-decoder.ts'
import { tinyOnnx } from '../../testing/tiny-onnx.ts'
import { requested, SCENE } from '../../testing/tower-events.ts'
import { sampleModel } from './sample-model.ts'

const PARTITIONS = 2
const vocabulary = catalogueOf(catalogue)
const sessions = new ModelSessions({ memory: 512 * 2 ** 20 })
afterAll(async () => await sessions.close())

type Row = DataOf<typeof completionsSampled>[number]
let unique = 0

async function started() {
  const log = memoryLog()
  const blobs = memoryBlobs()
  const processor = sampleModel('policy')
  await log.createTopics(topicsOf(catalogue, [processor], PARTITIONS))
  const append = async (type: EventType, events: readonly Event[]) => {
    const produce = async () => events.map((event) => ({ type, event }))
    const source = inSteps({ name: `test-${unique++}`, types: [type], steps: 1, produce })
    await runSource(source, { log, blobs, partitions: PARTITIONS })
  }
  const common = { log, blobs, vocabulary, partitions: PARTITIONS, models: sessions }
  const eventsOf = async <T extends EventType>(type: T): Promise<Event<T>[]> =>
    (await recordsOf(log, type.type)).map((record) => decodeEvent(record, vocabulary) as unknown as Event<T>)
  return {
    ...{ log, blobs, processor, common, eventsOf },
    async ask(groups: readonly string[], more: Partial<DataOf<typeof rolloutRequested>> = {}) {
      const events = groups.map((group_id) =>
        requested({ group_id, group_size: 6, seed: group_id, ...more }, `r${group_id}`),
      )
      await append(rolloutRequested, events as unknown as Event[])
    },
    async publish(version: number, { files, manifest }: TinyDecoder, more: Partial<DataOf<typeof Published>> = {}) {
      const stored = [...files].map(async ([name, bytes]) => ({
        name,
        blob: await blobs.put(bytes, 'application/onnx'),
      }))
      const model = { model_id: `m${version}`, version, ...manifest, files: await Promise.all(stored), ...more }
      await append(modelPublished, [published(model, { id: `m${version}` }) as unknown as Event])
    },
    run: () => runUntilRead({ ...common, processor }),
    verify: () => verifyStage({ name: processor.name, variant: processor.variant, create: () => processor }, common),
    async rows(): Promise<Row[]> {
      return (await eventsOf(completionsSampled)).flatMap(({ data }) => data)
    },
  }
}

const notices = (events: readonly WorkerEvent[]) =>
  events.flatMap((event) => (event.kind === 'notice' ? [event.message] : []))
const groups = (count: number, name = 'g') => Array.from({ length: count }, (_, at) => `${name}${at}`)

test('requests wait in the log for the first model, and each completion names what sampled it', async () => {
  const { ask, publish, run, rows, eventsOf, verify, blobs } = await started()
  await ask(groups(5))
  expect(notices(await run())).toEqual([expect.stringMatching(/waits for a published model of role policy: .*0, 1/)])
  expect(await rows()).toEqual([])
  const decoder = tinyDecoder('a')
  await publish(7, decoder)
  await run()
  const all = await rows()
  expect(all).toHaveLength(5 * 6)
  const { sha256 } = await blobs.put(decoder.files.get('model.onnx') as Uint8Array, 'application/onnx')
  for (const { model_hash } of await eventsOf(completionsSampled)) expect(model_hash).toBe(sha256)
  for (const row of all) {
    const tokens = row.token_ids ?? []
    expect(row).toMatchObject({ policy: 'onnx(policy)', model_id: 'm7', lineage: 'run-1', logprobs_kind: 'raw' })
    expect(row.token_policy_version).toEqual(tokens.map(() => 7))
    expect(row.text).toBe(tokens.map((token) => VOCABULARY[token]).join(''))
    expect(tokens).not.toContain(VOCABULARY.length - 1)
    expect(row.logprobs).toHaveLength(tokens.length)
    for (const logprob of row.logprobs ?? []) expect(logprob).toBeLessThan(0)
    expect(row.finish_reason).toBe(tokens.at(-1) === 0 ? 'stop' : 'length')
    if (row.finish_reason === 'length') expect(tokens).toHaveLength(LONGEST - 1)
  }
  expect(new Set(all.map(({ text }) => text)).size).toBeGreaterThan(10)
  expect(await verify()).toMatchObject({ rebuilt: 5, equal: 5, differences: 0 })
})

test('models that are published while requests flow are taken up between two batches: nothing is missing or twice', async () => {
  const { common, processor, ask, publish, rows, eventsOf, verify } = await started()
  await publish(0, tinyDecoder('0'))
  const stop = new AbortController()
  const options = { ...common, processor, log: withShortPolls(common.log), instance: 'live' }
  const worker = new Worker({ ...options, tuning: { commit_interval_ms: 5, session_timeout_ms: 2_000 } })
  const running = worker.run(stop.signal)
  const versionsOf = async () =>
    (await eventsOf(completionsSampled)).map(({ data }) => {
      const of_group = new Set(data.flatMap(({ token_policy_version }) => token_policy_version ?? []))
      expect(of_group.size).toBe(1)
      return [...of_group][0]
    })
  let asked = 0
  for (let version = 0; version < 5; version++) {
    if (version > 0) await publish(version, tinyDecoder(String(version)))
    for (let more = 0; more < 3 || !(await versionsOf()).includes(version); more++) {
      await ask(groups(2, `${asked}-`))
      asked += 2
      await expect.poll(async () => (await rows()).length, { timeout: 30_000 }).toBeGreaterThan((asked - 8) * 6)
    }
  }
  await expect.poll(async () => (await rows()).length, { timeout: 30_000 }).toBe(asked * 6)
  stop.abort()
  await running
  const places = (await rows()).map((row) => `${row.group_id}/${row.completion_index}`)
  expect(new Set(places).size).toBe(places.length)
  expect(new Set(await versionsOf())).toEqual(new Set([0, 1, 2, 3, 4]))
  expect(await verify()).toMatchObject({ rebuilt: asked, equal: asked, differences: 0 })
})

test('a completion depends on its model and request alone, not on those next to it', async () => {
  const texts = async (asks: readonly (readonly string[])[], group_size: number) => {
    const { ask, publish, run, rows } = await started()
    await publish(0, tinyDecoder('a'))
    for (const some of asks) {
      await ask(some, { group_size })
      await run()
    }
    return new Map((await rows()).map((row) => [`${row.group_id}/${row.completion_index}`, String(row.token_ids)]))
  }
  const together = await texts([groups(9)], 6)
  const alone = await texts(
    groups(9)
      .toReversed()
      .map((group) => [group]),
    ROWS - 1,
  )
  expect([together.size, alone.size]).toEqual([9 * 6, 9 * (ROWS - 1)])
  for (const [place, tokens] of alone) expect(tokens).toBe(together.get(place))
})

/** A decoder of 1 KiB that asks for 100 GB when it runs. */
function bomb(): TinyDecoder {
  const { manifest } = tinyDecoder('a')
  const size = VOCABULARY.length
  const model = tinyOnnx({
    nodes: [
      { op: 'Gather', inputs: ['table', 'tokens'], outputs: ['rows'] },
      { op: 'ReduceSum', inputs: ['rows', 'axis'], outputs: ['sum'], attributes: { keepdims: 0 } },
      { op: 'ConstantOfShape', inputs: ['huge'], outputs: ['zeros'] },
      { op: 'ReduceSum', inputs: ['zeros', 'first'], outputs: ['zero'], attributes: { keepdims: 0 } },
      { op: 'Add', inputs: ['sum', 'zero'], outputs: ['logits'] },
    ],
    inputs: [{ name: 'tokens', type: 'int64', shape: [ROWS, 'length'] }],
    outputs: [{ name: 'logits', type: 'float32', shape: [ROWS, size] }],
    constants: [
      { name: 'table', shape: [size, 1], data: new Float32Array(size) },
      { name: 'axis', shape: [1], data: BigInt64Array.of(1n) },
      { name: 'huge', shape: [1], data: BigInt64Array.of(25_000_000_000n) },
      { name: 'first', shape: [1], data: BigInt64Array.of(0n) },
    ],
  })
  expect(model.byteLength).toBeLessThan(1_024)
  return { manifest, files: new Map([['model.onnx', model]]) }
}

function withoutNumbers(): TinyDecoder {
  const { manifest } = tinyDecoder('a')
  const table = new Float32Array(VOCABULARY.length ** 2).fill(Number.NaN)
  const model = tinyOnnx({
    nodes: [
      { op: 'Gather', inputs: ['table', 'tokens'], outputs: ['rows'] },
      { op: 'ReduceSum', inputs: ['rows', 'axis'], outputs: ['logits'], attributes: { keepdims: 0 } },
    ],
    inputs: [{ name: 'tokens', type: 'int64', shape: [ROWS, 'length'] }],
    outputs: [{ name: 'logits', type: 'float32', shape: [ROWS, VOCABULARY.length] }],
    constants: [
      { name: 'table', shape: [VOCABULARY.length, VOCABULARY.length], data: table },
      { name: 'axis', shape: [1], data: BigInt64Array.of(1n) },
    ],
  })
  return { manifest, files: new Map([['model.onnx', model]]) }
}

const tiny = tinyDecoder('b')

test.each<[string, TinyDecoder, RegExp]>([
  ['without a vocabulary', { ...tiny, manifest: { ...tiny.manifest, vocabulary: null } }, /^vocabulary: expected/],
  [
    'that is no ONNX',
    { ...tiny, files: new Map([['model.onnx', Buffer.from('rubbish')]]) },
    /^model \w{64}: .*protobuf/i,
  ],
  [
    'with another vocabulary',
    { ...tiny, manifest: { ...tiny.manifest, vocabulary: [...VOCABULARY, 'x'] } },
    /^logits: expected float32 of \[4, 19\]/,
  ],
  ['whose logits are no numbers', withoutNumbers(), /^logits of model \w{64}: expected numbers, found NaN/],
  ['of 1 KiB that asks for 100 GB', bomb(), /./],
])(
  'a model %s is refused with an event, and the one before goes on',
  async (_, misfit, says) => {
    const { ask, publish, run, rows, eventsOf, verify } = await started()
    await publish(0, tinyDecoder('a'))
    await ask(groups(3))
    await run()
    await publish(1, misfit)
    await run()
    await ask(groups(3, 'later'))
    await run()
    const all = await rows()
    expect(all).toHaveLength(6 * 6)
    expect(new Set(all.map(({ model_id }) => model_id))).toEqual(new Set(['m0']))
    const refused = await eventsOf(modelRefused)
    // Each task tries it, and says the same of it.
    expect(new Set(refused.map(({ id }) => id)).size).toBe(1)
    const { data } = refused[0] as Event<typeof modelRefused>
    expect(data).toMatchObject({ model_id: 'm1', version: 1, processor: 'sample-completions' })
    expect(data.reason).toMatch(says)
    await publish(2, tinyDecoder('c'))
    await run()
    await ask(groups(3, 'last'))
    await run()
    expect((await rows()).filter(({ model_id }) => model_id === 'm2')).toHaveLength(3 * 6)
    expect(await verify()).toMatchObject({ differences: 0 })
  },
  60_000,
)

const red = { r: 255, g: 0, b: 0 }
const blue = { r: 0, g: 0, b: 255 }

test('a model that reads a picture and the prompt is given both, and a request without them is a dead letter', async () => {
  const { blobs, ask, publish, run, rows, verify } = await started()
  const picture = async (background: typeof red) => {
    const png = await sharp({ create: { width: 20, height: 10, channels: 3, background } })
      .png()
      .toBuffer()
    return { ...SCENE.image, ...(await blobs.put(png, 'image/png')) }
  }
  const pictures = { red: await picture(red), blue: await picture(blue) }
  const asking = (text: string, ...images: readonly (keyof typeof pictures)[]) => ({
    ...{ seed: 'same', prompt: { text, sha256: 'c'.repeat(64), variant: 'plain' } },
    images: images.map((name) => pictures[name]),
  })
  await publish(0, tinyDecoder('a', { image: true, prompt: 4 }))
  await ask(['one'], asking('1.2', 'red'))
  await ask(['same'], asking('1.2', 'red'))
  await ask(['other picture'], asking('1.2', 'blue'))
  await ask(['other prompt'], asking('1.3', 'red'))
  await ask(['no picture'], asking('1.2'))
  await ask(['two pictures'], asking('1.2', 'red', 'blue'))
  await ask(['long prompt'], asking('1.2.3', 'red'))
  await ask(['foreign prompt'], asking('1x', 'red'))
  const failed = (await run()).flatMap((event) => (event.kind === 'committed' ? [event.dead_letters] : []))
  expect(failed.reduce((sum, count) => sum + count, 0)).toBe(4)
  const by_group = Object.groupBy(await rows(), ({ group_id }) => group_id)
  const tokensOf = (group: string) => JSON.stringify(by_group[group]?.map(({ token_ids }) => token_ids))
  expect(Object.keys(by_group).sort()).toEqual(['one', 'other picture', 'other prompt', 'same'])
  expect(by_group.one?.[0]?.prompt_token_ids).toEqual([...'1.2'].map((text) => VOCABULARY.indexOf(text)))
  expect(tokensOf('same')).toBe(tokensOf('one'))
  for (const other of ['other picture', 'other prompt']) expect(tokensOf(other)).not.toBe(tokensOf('one'))
  expect(await verify()).toMatchObject({ rebuilt: 4, equal: 4, differences: 0 })
})

test('the sampling of a request holds: temperature, most tokens, stop texts', async () => {
  const { ask, publish, run, rows } = await started()
  await publish(0, tinyDecoder('a'))
  const sampling = { temperature: null, top_p: null, top_k: null, max_tokens: null, stop: [] }
  await ask(['greedy'], { sampling: { ...sampling, temperature: 0 } })
  await ask(['short'], { sampling: { ...sampling, max_tokens: 2 } })
  await ask(['stopped'], { group_size: 64, sampling: { ...sampling, stop: ['.', '1'] } })
  await ask(['other role'], { policy_role: 'router' })
  await run()
  const by_group = Object.groupBy(await rows(), ({ group_id }) => group_id)
  expect(Object.keys(by_group).sort()).toEqual(['greedy', 'short', 'stopped'])
  expect(new Set(by_group.greedy?.map(({ text }) => text)).size).toBe(1)
  for (const { token_ids } of by_group.short ?? []) expect(token_ids?.length).toBeLessThanOrEqual(2)
  const stopped = by_group.stopped?.filter(({ token_ids }) => /[.1]$/.test(VOCABULARY[token_ids?.at(-1) ?? 0] ?? ''))
  expect(stopped?.length).toBeGreaterThan(5)
  for (const { text } of by_group.stopped ?? []) expect(text).not.toMatch(/[.1]/)
  for (const { finish_reason } of stopped ?? []) expect(finish_reason).toBe('stop')
})
