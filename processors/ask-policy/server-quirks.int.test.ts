import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { answer, type ChatBody, type ChatServer, type Fault } from '../../testing/chat-server.ts'
import { expectWhole, PolicyStage, type Row, server } from '../../testing/policy-stage.ts'

/** Quirks of real servers, one line each. Only the text of a completion is required; its other parts may be missing. */

interface Whole {
  choices: { message: Record<string, unknown>; logprobs: unknown; finish_reason: unknown; [field: string]: unknown }[]
  [field: string]: unknown
}

/** The chat server's answer, with a change in every choice. */
const changed =
  (change: (choice: Whole['choices'][number]) => void): ((chat: ChatServer) => Fault) =>
  (chat) =>
  (response, body) => {
    const whole = chat.completion(body) as Whole
    for (const choice of whole.choices) change(choice)
    answer(response, 200, whole)
  }

const logprobsOf = (values: readonly unknown[]) => ({ content: values.map((logprob) => ({ token: 't', logprob })) })

const encoded =
  (compress: (bytes: Buffer) => Buffer, headers: Record<string, string>): ((chat: ChatServer) => Fault) =>
  (chat) =>
  (response, body) => {
    response.writeHead(200, { 'content-type': 'application/json', ...headers })
    response.end(compress(Buffer.from(JSON.stringify(chat.completion(body)))))
  }

const WHOLE: Partial<Row> = { trainable: true }
const TEXT_ALONE: Partial<Row> = { logprobs: null, logprobs_kind: null, trainable: false }

describe('an answer with', () => {
  const quirks: [string, (chat: ChatServer) => Fault, Partial<Row>][] = [
    [
      'a null log-probability of one token',
      changed((choice) => {
        choice.logprobs = logprobsOf([-0.1, null, -0.3])
      }),
      TEXT_ALONE,
    ],
    [
      'NaN and -Infinity as Python writes them',
      (chat) => (response, body) => {
        const text = JSON.stringify(chat.completion(body)).replace('-0.1', 'NaN').replace('-0.2', '-Infinity')
        response.writeHead(200, { 'content-type': 'application/json' }).end(text)
      },
      {},
    ],
    ['logprobs: []', changed((choice) => Object.assign(choice, { logprobs: [] })), TEXT_ALONE],
    ['logprobs: {}', changed((choice) => Object.assign(choice, { logprobs: {} })), TEXT_ALONE],
    ['logprobs: "none"', changed((choice) => Object.assign(choice, { logprobs: 'none' })), TEXT_ALONE],
    [
      'empty log-probabilities',
      changed((choice) => Object.assign(choice, { logprobs: { content: [] } })),
      { trainable: false },
    ],
    [
      'token_logprobs of the completions protocol',
      changed((choice) => Object.assign(choice, { logprobs: { token_logprobs: [-0.1, -0.2, -0.3] } })),
      WHOLE,
    ],
    [
      'content as a list of parts',
      changed(({ message }) => {
        message.content = [
          { type: 'thinking', thinking: 'hm' },
          { type: 'text', text: `${message.content}`.slice(0, 8) },
          { type: 'text', text: `${message.content}`.slice(8) },
        ]
      }),
      WHOLE,
    ],
    [
      'a text instead of a message',
      changed((choice) => Object.assign(choice, { text: choice.message.content, message: null })),
      WHOLE,
    ],
    [
      'token ids that are no ids',
      changed((choice) => Object.assign(choice, { token_ids: [1.5, -2, 2 ** 40] })),
      { token_ids: null, trainable: false },
    ],
    [
      'a finish_reason that is an object',
      changed((choice) => Object.assign(choice, { finish_reason: { type: 'stop' } })),
      { finish_reason: null },
    ],
    ['an index as text', changed((choice) => Object.assign(choice, { index: `${choice.index}` })), WHOLE],
    [
      'a number as its model',
      (chat) => (response, body) => answer(response, 200, { ...(chat.completion(body) as Whole), model: 7 }),
      { model_id: null },
    ],
    ['a byte order mark', encoded((bytes) => Buffer.concat([Buffer.from('\uFEFF'), bytes]), {}), WHOLE],
    ['unasked gzip', encoded(gzipSync, { 'content-encoding': 'gzip' }), WHOLE],
    ['undeclared gzip', encoded(gzipSync, {}), WHOLE],
    ['unasked brotli', encoded(brotliCompressSync, { 'content-encoding': 'br' }), WHOLE],
    ['unasked zstd', encoded(zstdCompressSync, { 'content-encoding': 'zstd' }), WHOLE],
  ]
  test.each(quirks)('%s is accepted at once', async (_quirk, fault, expected) => {
    const [stage, chat] = [await PolicyStage.open(1), await server()]
    chat.always = fault(chat)
    await stage.run(chat.url)
    const rows = await stage.rows()
    expectWhole(rows, 1)
    for (const row of rows) expect(row.text).toMatch(/^<answer>-?\d+, 250<\/answer>$/)
    expect(rows[0]).toMatchObject(expected)
    expect(chat.seen).toHaveLength(1)
  })
})

/** A server that rejects requests with all of these parameters. */
const refusing =
  (...parameters: readonly (keyof ChatBody | string)[]) =>
  (message: string) =>
  (body: ChatBody): string | undefined =>
    parameters.every((parameter) => parameter in body) ? message : undefined

describe('a server that refuses', () => {
  const quirks: [string, (body: ChatBody) => string | undefined, Partial<Row>, Partial<Row>][] = [
    [
      'temperature with top_p: top_p, which nothing asked for, is left out',
      refusing('temperature', 'top_p')('temperature and top_p cannot both be specified for this model'),
      {},
      { temperature: 1, top_p: null, trainable: true },
    ],
    [
      'temperature with top_p, where the request asks for top_p: temperature is left out',
      refusing('temperature', 'top_p')('temperature and top_p cannot both be specified for this model'),
      { top_p: 0.9 },
      { temperature: null, top_p: 0.9, trainable: true },
    ],
    ['seed', refusing('seed')("Unsupported parameter: 'seed'"), {}, { seed: null, trainable: true }],
    ['seed, without naming it', refusing('seed')('Bad Request'), {}, { seed: null, top_p: 1, trainable: true }],
    [
      'top_p, without naming it',
      refusing('top_p')('invalid request'),
      {},
      { top_p: null, temperature: 1, trainable: true },
    ],
    [
      'log-probabilities, without naming it',
      refusing('logprobs')(''),
      {},
      { logprobs: null, token_ids: expect.any(Array), temperature: 1 },
    ],
    [
      'a token limit by its old name',
      ({ max_tokens }) => (max_tokens === undefined ? undefined : "Use 'max_completion_tokens'"),
      {},
      { max_tokens: 1_024 },
    ],
  ]
  test.each(quirks)('%s', async (_quirk, refuses, asked, expected) => {
    const [stage, chat] = [await PolicyStage.open(6, 4, asked), await server({ refuses })]
    await stage.run(chat.url, { concurrency: 1 })
    const rows = await stage.rows()
    expectWhole(rows, 6)
    // Parameters that were omitted without need, after an unspecific refusal, are sent again with the next call.
    expect(rows.at(-1)).toMatchObject(expected)
    expect(chat.seen.length).toBeLessThan(6 + 12)
  })

  test.each([
    ['top_k', { top_k: 20 }, 'top_k is not supported', 'the request asks for top_k 20'],
    ['a temperature', { temperature: 1.5 }, 'temperature must be at most 1', 'the request asks for temperature 1.5'],
    ['stop', { stop: ['</answer>'] }, "'stop' is not supported", 'the request asks for stop </answer>'],
  ])('%s that the request asks for is named, and nothing else is left out', async (_what, asked, message, words) => {
    const [stage, chat] = [await PolicyStage.open(1, 1, asked), await server({ refuses: () => message })]
    await stage.run(chat.url, { for_ms: 150 })
    expect(stage.troubles().join()).toContain(words)
    for (const { body } of chat.seen) expect(body).toMatchObject({ ...asked, seed: expect.any(Number), logprobs: true })
  })
})

describe('an error under status 200', () => {
  test.each([
    ['with its code', { error: { message: 'slow down', code: 429 } }, 'HTTP 429: slow down'],
    ['with its code as text', { error: { message: 'slow down', code: '429' } }, 'HTTP 429: slow down'],
    ['with a word', { error: { message: 'slow down', type: 'rate_limit_exceeded' } }, 'HTTP 429: slow down'],
    ['with empty choices', { choices: [], error: { message: 'busy', code: 503 } }, 'HTTP 503: busy'],
    [
      'inside the choices',
      { choices: [{ finish_reason: 'error', error: { message: 'busy', code: 502 } }] },
      'HTTP 502',
    ],
  ])('%s is that status: everything waits, and one call tries', async (_what, body, words) => {
    const [stage, chat] = [await PolicyStage.open(12), await server()]
    chat.always = (response) => answer(response, 200, body)
    await stage.run(chat.url, { for_ms: 400, concurrency: 8 })
    expect(stage.troubles().join()).toContain(words)
    // Eight concurrent calls at first, then one at a time.
    expect(chat.seen.length).toBeLessThan(24)
    chat.always = undefined
    await stage.run(chat.url)
    expectWhole(await stage.rows(), 12)
  })
})

describe('an answer that cannot be recorded', () => {
  test('is requested three times, then given up, and the rest of its group is recorded', async () => {
    const text = (_seed: number, choice: number) => (choice === 2 ? 'x'.repeat(600_000) : '<answer>0, 250</answer>')
    const [stage, chat] = [await PolicyStage.open(1), await server({ text })]
    // When it is requested alone, it is the first choice of its call.
    chat.always = (response, body) => {
      const whole = chat.completion(body) as Whole
      if (body.n === 1 && whole.choices[0] !== undefined) whole.choices[0].message.content = 'x'.repeat(600_000)
      answer(response, 200, whole)
    }
    await stage.run(chat.url)
    const rows = await stage.rows()
    expect(rows.map(({ completion_index }) => completion_index).sort()).toEqual([0, 1, 3])
    expect(stage.notices().join()).toContain('g0: gave up 2 after 3 answers that cannot be recorded')
    expect(chat.seen).toHaveLength(3)
    await stage.run(chat.url)
    expect(chat.seen).toHaveLength(3)
  })

  test('too large an answer for a whole group: its completions are requested one at a time', async () => {
    const text = () => `<answer>0, 250</answer>${' '.repeat(4_000)}`
    const [stage, chat] = [await PolicyStage.open(2), await server({ text })]
    await stage.run(chat.url, { max_answer_bytes: 10_000 })
    expectWhole(await stage.rows(), 2)
  })
})
