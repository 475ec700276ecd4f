import { beforeEach, describe, expect, test } from 'vitest'
import { memoryLog } from '../../infra/log/memory/memory-log.ts'
import {
  answer,
  type ChatBody,
  ChatServer,
  type Fault,
  hangUp,
  invalidJson,
  slowDrip,
  stall,
  status,
  tooMany,
  truncated,
} from '../../testing/chat-server.ts'
import { recordsOf } from '../../testing/counting.ts'
import { expectWhole, PNG, PolicyStage, server } from '../../testing/policy-stage.ts'

describe('a server that does everything', () => {
  let stage: PolicyStage
  let chat: ChatServer
  let url: string
  beforeEach(async () => {
    stage = await PolicyStage.open(3)
    chat = await ChatServer.start()
    url = chat.url
    await stage.run(url, { api_key: 'sk-secret' })
    await chat.stop()
  })

  test('is asked once a group, with the picture as a data URL and the key in a header', async () => {
    expectWhole(await stage.rows(), 3)
    expect(chat.seen).toHaveLength(3)
    const [{ body, headers } = {}] = chat.seen
    expect(body).toMatchObject({ model: 'tiny', n: 4, temperature: 1, max_tokens: 1_024, logprobs: true })
    const image_url = { url: `data:image/png;base64,${PNG.toString('base64')}` }
    expect(body?.messages[0]?.content).toEqual([
      { type: 'image_url', image_url },
      { type: 'text', text: 'move it' },
    ])
    expect(headers?.authorization).toBe('Bearer sk-secret')
  })

  test('gives rows that can be trained on, as facts of the wall clock', async () => {
    const [event] = await stage.emitted()
    expect(event).toMatchObject({ source: '/effects/sample-completions', clock: 'wall' })
    expect(Math.abs(Date.parse(event?.time ?? '') - Date.now())).toBeLessThan(60_000)
    expect(event?.data[0]).toMatchObject({
      policy: `openai(${url}, tiny)`,
      model_id: 'tiny',
      engine_version: 'chat-server-1',
      finish_reason: 'stop',
      prompt_token_ids: [1, 2, 3],
      token_ids: [10, 11, 12],
      completion_mask: [1, 1, 1],
      logprobs: [-0.1, -0.2, -0.3].map(Math.fround),
      logprobs_kind: 'raw',
      trainable: true,
      temperature: 1,
      max_tokens: 1_024,
      seed: String(chat.seen.find(({ body }) => body.seed === Number(event?.data[0]?.seed))?.body.seed),
    })
  })
})

describe('a model that samples its own way unasked', () => {
  test('is told not to: the completions of a group differ', async () => {
    const [stage, chat] = [await PolicyStage.open(1), await server({ top_k: 1 })]
    await stage.run(chat.url)
    const rows = await stage.rows()
    expectWhole(rows, 1)
    expect(new Set(rows.map((row) => row.text)).size).toBe(4)
    const neutral = { top_k: -1, min_p: 0, repetition_penalty: 1, presence_penalty: 0, frequency_penalty: 0 }
    expect(chat.seen[0]?.body).toMatchObject(neutral)
    expect(rows[0]).toMatchObject({ top_k: null })
  })

  test('on a server without top_k: requested without it, and still with the one that a request names', async () => {
    const refuses = (body: object) =>
      'top_k' in body && body.top_k === -1 ? 'Unrecognized request argument supplied: top_k' : undefined
    const chat = await server({ refuses })
    const [silent, named] = [await PolicyStage.open(1), await PolicyStage.open(1, 4, { top_k: 20 })]
    await silent.run(chat.url)
    await named.run(chat.url)
    expect(chat.seen.map(({ body }) => body.top_k)).toEqual([-1, undefined, 20])
    expect((await silent.rows())[0]).toMatchObject({ top_k: null, trainable: true })
    expect((await named.rows())[0]).toMatchObject({ top_k: 20, trainable: true })
  })
})

describe('tokens that no trainer takes', () => {
  const asked = { unsupported_tokens: [7, 151_655] }
  const logit_bias = { 7: -100, 151655: -100 }

  test('are suppressed, and recorded with each completion', async () => {
    const [stage, chat] = [await PolicyStage.open(1), await server()]
    await stage.run(chat.url, asked)
    expect(chat.seen.map(({ body }) => body.logit_bias)).toEqual([logit_bias])
    const policy = `openai(${chat.url}, tiny, {"unsupported_tokens":[7,151655]})`
    expect((await stage.rows()).map((row) => row.policy)).toEqual([policy, policy, policy, policy])
  })

  test('are left out for a server that does not take them; token ids still come, to reject by', async () => {
    const refuses = ({ logit_bias }: ChatBody) => (logit_bias ? 'Unrecognized request argument: logit_bias' : undefined)
    const [stage, chat] = [await PolicyStage.open(2), await server({ refuses })]
    await stage.run(chat.url, { ...asked, concurrency: 1 })
    expect(chat.seen.map(({ body }) => body.logit_bias)).toEqual([logit_bias, undefined, undefined])
    expectWhole(await stage.rows(), 2)
    expect((await stage.rows()).every((row) => row.trainable && row.seed !== null)).toBe(true)
  })

  test('are left out too for one that refuses without saying why', async () => {
    const refuses = ({ logit_bias }: ChatBody) => (logit_bias ? 'Bad Request' : undefined)
    const [stage, chat] = [await PolicyStage.open(1), await server({ refuses })]
    await stage.run(chat.url, asked)
    expectWhole(await stage.rows(), 1)
    expect((await stage.rows())[0]).toMatchObject({ trainable: true })
  })
})

describe('a server that does less', () => {
  test('one choice a call: requested one at a time from then on, with another seed each', async () => {
    const [stage, chat] = [await PolicyStage.open(2), await server({ max_n: 1 })]
    await stage.run(chat.url)
    expectWhole(await stage.rows(), 2)
    const seeds = chat.seen.map(({ body }) => body.seed)
    expect(new Set(seeds).size).toBe(seeds.length)
    expect(seeds).toHaveLength(8)
  })

  test('three choices of four: the missing one is requested, under the same attempt', async () => {
    const [stage, chat] = [await PolicyStage.open(1), await server({ max_n: 3 })]
    await stage.run(chat.url)
    expectWhole(await stage.rows(), 1)
    expect(chat.seen.map(({ body }) => body.n)).toEqual([4, undefined])
  })

  test('refuses n without naming it: requested one at a time', async () => {
    const refuses = ({ n = 1 }) => (n > 1 ? 'bad request' : undefined)
    const [stage, chat] = [await PolicyStage.open(1), await server({ refuses })]
    await stage.run(chat.url)
    expectWhole(await stage.rows(), 1)
  })

  test('refuses token ids: requested without, and its rows cannot be trained on', async () => {
    const refuses = (body: object) =>
      'return_token_ids' in body ? 'Unrecognized argument: return_token_ids' : undefined
    const [stage, chat] = [await PolicyStage.open(1), await server({ refuses, token_ids: false })]
    await stage.run(chat.url)
    const rows = await stage.rows()
    expectWhole(rows, 1)
    expect(rows[0]).toMatchObject({ token_ids: null, trainable: false, logprobs_kind: null })
    expect(chat.seen).toHaveLength(2)
  })

  test('cuts a choice short: it is no completion, and is requested again', async () => {
    const [stage, chat] = [await PolicyStage.open(1), await server()]
    chat.faults.push((response, body) => {
      const whole = chat.completion(body) as { choices: { finish_reason: string }[] }
      if (whole.choices[2] !== undefined) whole.choices[2].finish_reason = 'abort'
      answer(response, 200, whole)
    })
    await stage.run(chat.url)
    expectWhole(await stage.rows(), 1)
    expect(chat.seen.map(({ body }) => body.n)).toEqual([4, 1])
  })
})

describe('a server that fails slows the stage and loses nothing:', () => {
  const faults: [string, (chat: ChatServer) => Fault][] = [
    ['500', () => status(500)],
    ['503', () => status(503)],
    ['an answer that never arrives', () => stall],
    ['an answer that breaks off', () => truncated],
    ['an answer that is no JSON', () => invalidJson],
    ['an answer without choices', () => (response) => answer(response, 200, { choices: [] })],
    ['an answer that drips', slowDrip],
    ['a connection that is closed', () => hangUp],
  ]
  test.each(faults)('%s', async (_name, fault) => {
    const [stage, chat] = [await PolicyStage.open(4), await server()]
    chat.faults.push(fault(chat), fault(chat), fault(chat))
    await stage.run(chat.url, { timeout_ms: 300 })
    expectWhole(await stage.rows(), 4)
    expect(chat.seen).toHaveLength(7)
    expect(stage.troubles()).not.toEqual([])
  })

  test('429: no call is made before Retry-After has passed, and then a single one tries', async () => {
    const [stage, chat] = [await PolicyStage.open(6), await server({ delay_ms: 50 })]
    chat.faults.push(tooMany('1'))
    await stage.run(chat.url, { concurrency: 4 })
    expectWhole(await stage.rows(), 6)
    const at_ms = chat.seen.map((seen) => seen.at_ms - (chat.seen[0]?.at_ms ?? 0))
    expect(at_ms).toHaveLength(7)
    expect(at_ms[3]).toBeLessThan(500)
    expect(at_ms[4]).toBeGreaterThanOrEqual(990)
    expect((at_ms[5] ?? 0) - (at_ms[4] ?? 0)).toBeGreaterThanOrEqual(45)
    expect(stage.troubles().join()).toContain('HTTP 429: Rate limit reached')
  })

  test('no listener at first, and then a server', async () => {
    const stage = await PolicyStage.open(3)
    const gone = await ChatServer.start()
    const { url, port } = gone
    await gone.stop()
    await stage.run(url, { for_ms: 400 })
    expect(await stage.rows()).toEqual([])
    expect(stage.troubles().join()).toContain('nothing listens there; is the server up?')
    await server({ port })
    await stage.run(url)
    expectWhole(await stage.rows(), 3)
  })

  test.each([
    [401, 'set PLUMBLINE_API_KEY'],
    [404, 'does the server serve a model of this name?'],
    [400, 'does the model take images'],
  ])('%i: names the remedy, retries slowly, and makes no dead letter', async (code, remedy) => {
    const [stage, chat] = [await PolicyStage.open(2), await server()]
    chat.always = status(code, 'no; your key is sk-secret')
    await stage.run(chat.url, { for_ms: 500, api_key: 'sk-secret' })
    expect(stage.troubles().join()).toContain(remedy)
    expect(stage.troubles().join()).not.toContain('sk-secret')
    expect(chat.seen.length).toBeLessThan(40)
    chat.always = undefined
    await stage.run(chat.url)
    expectWhole(await stage.rows(), 2)
    expect(await recordsOf(memoryLog({ broker: stage.broker }), 'dead_letters')).toEqual([])
  })
})

test('no more concurrent calls than configured', async () => {
  const [stage, chat] = [await PolicyStage.open(20), await server({ delay_ms: 20 })]
  await stage.run(chat.url, { concurrency: 3 })
  expectWhole(await stage.rows(), 20)
  expect(chat.most_at_once).toBe(3)
})

test('results that have arrived are kept when the worker stops in the middle of a group', async () => {
  const [stage, chat] = [await PolicyStage.open(3), await server({ max_n: 1, delay_ms: 60 })]
  await stage.run(chat.url, { for_ms: 350, concurrency: 1 })
  const before = await stage.rows()
  expect(before.length).toBeGreaterThan(0)
  expect(before.length).toBeLessThan(12)
  await stage.run(chat.url)
  const rows = await stage.rows()
  expectWhole(rows, 3)
  expect(rows).toEqual(expect.arrayContaining(before))
})
