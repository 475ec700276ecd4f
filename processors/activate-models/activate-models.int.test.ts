import { readdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { modelActivated, modelRefused } from '../../schemas/events/model.ts'
import { answer, ChatServer } from '../../testing/chat-server.ts'
import { LineageStage, untilTrue } from '../../testing/lineage-stage.ts'
import { expectWhole, type Row, server } from '../../testing/policy-stage.ts'

const NAME = /^lab\/run-1@[0-9a-f]{12}$/

/** The text names the adapter that wrote it: every row must be of the version that it says. */
async function expectTrueVersions(stage: LineageStage, rows: readonly Row[]): Promise<void> {
  const activated = await stage.all(modelActivated)
  for (const row of rows) {
    const model = activated.find(({ model_id }) => model_id === row.model_id)
    expect(row.text).toMatch(new RegExp(` by ${model?.name}$`))
    expect(row).toMatchObject({ lineage: 'lab/run-1', adapter_sha256: model?.adapter_sha256 })
    expect(row.token_policy_version).toEqual([1, 2, 3].map(() => model?.version))
  }
}

const loads = ({ adapter_calls }: ChatServer) => adapter_calls.filter(({ does }) => does === 'load')
const versionsOf = (rows: readonly Row[]) => [...new Set(rows.map((row) => row.token_policy_version?.[0]))].sort()

test('a published adapter is loaded once, asked once, announced to every partition, and then asked for', async () => {
  const [stage, chat] = [await LineageStage.open(6), await server({ adapters: true })]
  await stage.publish(1)
  await stage.run(chat.url)
  const rows = await stage.rows()
  expectWhole(rows, 6)
  await expectTrueVersions(stage, rows)
  expect(versionsOf(rows)).toEqual([1])
  const [activated, ...more] = await stage.all(modelActivated)
  expect(more).toEqual([])
  expect(activated).toMatchObject({ model_id: 'lab/run-1@1', version: 1, server: chat.url, base: 'tiny' })
  expect(activated?.name).toMatch(NAME)
  expect(loads(chat)).toHaveLength(1)
  // The first answer is the warming one.
  expect(chat.seen[0]?.body).toMatchObject({ model: activated?.name, max_tokens: 1 })
  expect(chat.seen).toHaveLength(7)
})

test('nothing is asked before the first adapter: requests wait, and a run until idle ends without them', async () => {
  const [stage, chat] = [await LineageStage.open(2), await server({ adapters: true })]
  await stage.run(chat.url)
  expect(chat.seen).toEqual([])
  expect(stage.notices()).toEqual(['2 wait for the first model of lab/run-1; publish one, or look at model.refused'])
  await stage.publish(1)
  await stage.run(chat.url)
  expectWhole(await stage.rows(), 2)
})

test('three adapters published while groups flow: each completion has one version, and the old ones are unloaded', async () => {
  const [stage, chat] = [await LineageStage.open(40), await server({ adapters: true, delay_ms: 25 })]
  await stage.publish(1)
  const running = stage.start(chat.url, { concurrency: 2 })
  for (const version of [2, 3]) {
    await untilTrue(async () => versionsOf(await stage.rows()).includes(version - 1))
    await stage.publish(version)
  }
  await untilTrue(running.idle, 5)
  await running.end()
  const rows = await stage.rows()
  expectWhole(rows, 40)
  await expectTrueVersions(stage, rows)
  expect(versionsOf(rows)).toEqual([1, 2, 3])
  const names = (await stage.all(modelActivated)).sort((a, b) => a.version - b.version).map(({ name }) => name)
  expect([...chat.loaded.keys()]).toEqual(names.slice(1))
  expect(chat.adapter_calls.filter(({ does }) => does === 'unload').map(({ lora_name }) => lora_name)).toEqual([
    names[0],
  ])
})

test('a call under way ends under the old name while a new adapter is activated', async () => {
  const [stage, chat] = [await LineageStage.open(2, 1), await server({ adapters: true })]
  await stage.publish(1)
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  // The first answer is the warming one; the second one is held.
  const now = (response: Parameters<typeof answer>[0], body: Parameters<ChatServer['completion']>[0]) =>
    answer(response, 200, chat.completion(body))
  chat.faults.push(now, async (response, body) => {
    await held
    now(response, body)
  })
  const running = stage.start(chat.url, { concurrency: 1, max_staleness: 0 })
  await untilTrue(() => chat.seen.length === 2)
  await stage.publish(2)
  await untilTrue(async () => (await stage.all(modelActivated)).length === 2)
  release()
  await untilTrue(running.idle, 5)
  await running.end()
  const rows = await stage.rows()
  expectWhole(rows, 2, 1)
  await expectTrueVersions(stage, rows)
  expect(versionsOf(rows)).toEqual([1, 2])
})

test('a server that was started again has lost all adapters: they are loaded again, and no completion is lost', async () => {
  const [stage, chat] = [await LineageStage.open(20, 1), await server({ adapters: true, delay_ms: 15 })]
  await stage.publish(1)
  const running = stage.start(chat.url, { concurrency: 2 })
  await untilTrue(async () => (await stage.rows()).length >= 4)
  chat.loaded.clear()
  await untilTrue(running.idle, 5)
  await running.end()
  const rows = await stage.rows()
  expectWhole(rows, 20, 1)
  await expectTrueVersions(stage, rows)
  expect(loads(chat).length).toBeGreaterThan(1)
  expect(await stage.all(modelActivated)).toHaveLength(1)
})

test('an adapter that the server has already is asked for: another log made it load it', async () => {
  const [first, second, chat] = [
    await LineageStage.open(1),
    await LineageStage.open(1),
    await server({ adapters: true }),
  ]
  for (const stage of [first, second]) {
    await stage.publish(1)
    await stage.run(chat.url)
    expectWhole(await stage.rows(), 1)
    expect(stage.troubles()).toEqual([])
  }
  expect(loads(chat)).toHaveLength(2)
})

test('two versions of the same weights share a name, which stays loaded for the newer one', async () => {
  const [stage, chat] = [await LineageStage.open(1), await server({ adapters: true })]
  await stage.publish(1, 7)
  await stage.run(chat.url, { max_staleness: 0 })
  await stage.publish(2, 7)
  await stage.run(chat.url, { max_staleness: 0 })
  const names = (await stage.all(modelActivated)).map(({ name }) => name)
  expect(names).toHaveLength(2)
  expect([...chat.loaded.keys()]).toEqual([...new Set(names)])
})

test('a log whose server has moved: the new one is made to load what the log says is active', async () => {
  const [stage, chat, other] = [
    await LineageStage.open(3),
    await server({ adapters: true }),
    await server({ adapters: true }),
  ]
  await stage.publish(1)
  await stage.run(chat.url, { only: 'activate-models' })
  await stage.run(other.url)
  const rows = await stage.rows()
  expectWhole(rows, 3)
  await expectTrueVersions(stage, rows)
  expect(other.loaded).toEqual(chat.loaded)
})

test('an adapter that is older than all that may be loaded, when its turn comes, is refused', async () => {
  const [stage, chat] = [await LineageStage.open(1), await server({ adapters: true })]
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  chat.load_faults.push(async (response) => {
    await held
    answer(response, 500, { error: { message: 'out of memory' } })
  })
  await stage.publish(1)
  const running = stage.start(chat.url, { max_staleness: 0 })
  await untilTrue(() => loads(chat).length === 1)
  await stage.publish(2)
  await untilTrue(async () => (await stage.all(modelActivated)).length === 1)
  await untilTrue(async () => (await stage.rows()).length > 0)
  release()
  await untilTrue(running.idle, 5)
  const reason = 'version 2 was activated before it, and 1 are loaded at once'
  expect(await stage.all(modelRefused)).toMatchObject([{ version: 1, reason }])
  expect(loads(chat)).toHaveLength(2)
})

test('an adapter that breaks the rules is refused before the server sees it, and the old one goes on', async () => {
  const [stage, chat] = [await LineageStage.open(2), await server({ adapters: true })]
  await stage.publish(1)
  await stage.publish(2, Buffer.from('80049514', 'hex'))
  await stage.run(chat.url)
  const rows = await stage.rows()
  expectWhole(rows, 2)
  expect(versionsOf(rows)).toEqual([1])
  expect(await stage.all(modelRefused)).toMatchObject([
    { model_id: 'lab/run-1@2', processor: 'activate-models', reason: expect.stringContaining('safetensors') },
  ])
  expect(loads(chat)).toHaveLength(1)
  // No unfinished folder stays behind.
  expect(await readdir(stage.folder)).toHaveLength(1)
})

test.each<[string, number, number]>([
  ['400', 400, 1],
  ['500, three times', 500, 3],
])('an adapter that the server refuses with %s is refused', async (_name, code, times) => {
  const [stage, chat] = [await LineageStage.open(2), await server({ adapters: true })]
  await stage.publish(1)
  await stage.run(chat.url)
  const message = 'LoRA rank 64 is greater than max_lora_rank 16.'
  for (let time = 0; time < times; time++) {
    chat.load_faults.push((response) => answer(response, code, { error: { message, code } }))
  }
  await stage.publish(2)
  await stage.run(chat.url)
  expect(await stage.all(modelRefused)).toMatchObject([{ version: 2, reason: expect.stringContaining(message) }])
  expect(await stage.all(modelActivated)).toHaveLength(1)
  expect(loads(chat)).toHaveLength(1 + times)
})

test('a server that is away, slow, or out of memory for a while loads the adapter later', async () => {
  const stage = await LineageStage.open(2)
  const gone = await ChatServer.start({ adapters: true })
  const { url, port } = gone
  await gone.stop()
  await stage.publish(1)
  const running = stage.start(url, { timeout_ms: 200 })
  await untilTrue(() => stage.troubles().some((trouble) => trouble.includes('nothing listens there')))
  const chat = await server({ adapters: true, port })
  const slow = () => new Promise<void>((resolve) => setTimeout(resolve, 400))
  chat.load_faults.push(slow, (response) => answer(response, 500, { error: { message: 'out of memory' } }))
  await untilTrue(running.idle, 5)
  await running.end()
  expectWhole(await stage.rows(), 2)
  expect(await stage.all(modelRefused)).toEqual([])
})

test.each([
  [{}, /--enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True/],
  [{ adapters: true }, /does it see the folder of --adapters under the same path/],
])('a server that cannot load adapters is no reason to refuse them: %j', async (options, remedy) => {
  const [stage, chat] = [await LineageStage.open(1), await server(options)]
  chat.load_faults.push((response) =>
    answer(response, 404, { error: { message: 'Loading lora x failed: No adapter found for /y' } }),
  )
  await stage.publish(1)
  const running = stage.start(chat.url)
  await untilTrue(() => stage.troubles().some((trouble) => remedy.test(trouble)))
  await running.end()
  expect(await stage.all(modelRefused)).toEqual([])
})
