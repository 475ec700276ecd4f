import { createHash } from 'node:crypto'
import { request } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { serveHttp } from '../../../infra/http/http-server.ts'
import type { Listening } from '../../../infra/http/listen.ts'
import { headerOf } from '../../../infra/runtime/internal/json-records.ts'
import { modelPublished } from '../../../schemas/events/model.ts'
import { rolloutRequested } from '../../../schemas/events/rollout.ts'
import { doorsOf } from '../../../testing/feed-doors.ts'
import { FeedLog } from '../../../testing/feed-log.ts'
import { temporaryFolder } from '../../../testing/temporary-folder.ts'
import { requested } from '../../../testing/tower-events.ts'
import { sendRawHttp } from '../../../tests/fuzz/raw-http.ts'
import { addToken } from '../access/add-token.ts'
import { type Role, type Token, TokenFile } from '../access/tokens.ts'
import { errorAnswer, feedRoutes } from '../routes.ts'

let log: FeedLog
let server: Listening
let tokens: Record<'all' | 'reader' | 'elsewhere', string>
let problems: string[]
let closeDoors: () => Promise<void>

beforeEach(async () => {
  log = await FeedLog.create()
  problems = []
  const file = join(await temporaryFolder(), 'tokens.json')
  const add = (name: string, roles: Role[], more: Partial<Token> = {}) =>
    addToken(file, {
      name,
      consumers: ['lab'],
      roles,
      events: ['rollout.*', 'training.*', 'model.*', 'clock.ticked'],
      ...more,
    })
  tokens = {
    all: await add('gpu-1', ['read', 'receipts', 'publish', 'sql']),
    reader: await add('reader', ['read', 'receipts']),
    elsewhere: await add('elsewhere', ['publish'], { consumers: ['eval-*'], events: ['tower.*'] }),
  }
  const { doors, close } = await doorsOf(log, { check: async () => problems })
  closeDoors = close
  const known = await TokenFile.open(file, { report: () => {} })
  const app = feedRoutes(log.feed(), { tokens: known, doors, body_ms: 500 })
  server = await serveHttp(app, { host: '127.0.0.1', port: 0, errorAnswer })
})
afterEach(async () => {
  await server.close()
  await closeDoors()
  await log.close()
})

type Sent = Omit<RequestInit, 'body'> & { readonly token?: string; readonly body?: unknown }

async function send(call: string, { token = tokens.all, body, headers, ...init }: Sent = {}) {
  const [method = '', path = ''] = call.split(' ')
  const bytes = body === undefined || body instanceof Uint8Array ? body : JSON.stringify(body)
  const answer = await fetch(`http://${server.address}${path}`, {
    ...{ method, ...init },
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
    ...(bytes === undefined ? {} : { body: bytes as Uint8Array<ArrayBuffer> }),
  })
  const got = Buffer.from(await answer.arrayBuffer())
  const is_json = got.byteLength > 0 && answer.headers.get('content-type')?.startsWith('application/json')
  return { status: answer.status, headers: answer.headers, body: is_json ? JSON.parse(got.toString()) : got }
}

const refusal = (status: number, error: string, message: RegExp) => ({
  status,
  body: { error, message: expect.stringMatching(message) },
})

const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const WEIGHTS = Buffer.from('weights, weights and weights')
const put = (bytes: Uint8Array, options: Sent = {}) =>
  send(`PUT /v1/blobs/${hashOf(bytes)}`, { body: bytes, ...options })

describe('blobs:', () => {
  const path = `/v1/blobs/${hashOf(WEIGHTS)}`

  test('what was put is read back, whole or in ranges, and putting it again is no error', async () => {
    expect((await put(WEIGHTS)).status).toBe(201)
    expect((await put(WEIGHTS)).status).toBe(201)
    expect(await send(`GET ${path}`)).toMatchObject({ status: 200, body: WEIGHTS })
    const part = await send(`GET ${path}`, { headers: { range: 'bytes=8-14' } })
    expect(part).toMatchObject({ status: 206, body: WEIGHTS.subarray(8, 15) })
    expect(part.headers.get('content-range')).toBe(`bytes 8-14/${WEIGHTS.byteLength}`)
    expect(await send(`GET ${path}`, { headers: { range: 'bytes=-7' } })).toMatchObject({
      ...{ status: 206, body: WEIGHTS.subarray(-7) },
    })
    const head = await send(`HEAD ${path}`)
    expect([head.status, head.headers.get('content-length')]).toEqual([200, String(WEIGHTS.byteLength)])
    expect((await put(Buffer.alloc(0))).status).toBe(201)
    expect((await send(`GET /v1/blobs/${hashOf(Buffer.alloc(0))}`)).body).toEqual(Buffer.alloc(0))
  })

  test('a range outside, a blob that is not there, and a name that is none are refused', async () => {
    await put(WEIGHTS)
    const beyond = await send(`GET ${path}`, { headers: { range: 'bytes=1000-' } })
    expect(beyond).toMatchObject(refusal(416, 'out_of_range', /within 28 bytes/))
    expect(beyond.headers.get('content-range')).toBe('bytes */28')
    expect(await send(`GET /v1/blobs/${'e'.repeat(64)}`)).toMatchObject(refusal(404, 'not_found', /is not/))
    expect((await send(`HEAD /v1/blobs/${'e'.repeat(64)}`)).status).toBe(404)
    for (const climbing of ['..%2f..%2fetc%2fpasswd', 'E'.repeat(64), 'abc', '%2e%2e']) {
      const { status } = await send(`GET /v1/blobs/${climbing}`)
      expect([400, 404], climbing).toContain(status)
    }
  })

  test('bytes of another hash are refused and not stored', async () => {
    const other = Buffer.from('other bytes, of another length')
    expect(await send(`PUT ${path}`, { body: other })).toMatchObject(refusal(422, 'blob_differs', /SHA-256/))
    expect((await send(`GET ${path}`)).status).toBe(404)
  })

  test('a body of 10 GB is refused before it is read', async () => {
    const status = await new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${tokens.all}`, 'content-length': String(10 * 2 ** 30) }
      const sent = request(`http://${server.address}${path}`, { method: 'PUT', headers }, (answer) => {
        resolve(answer.statusCode)
        sent.destroy()
      })
      sent.on('error', reject)
      sent.flushHeaders()
    })
    expect(status).toBe(413)
  })
})

const PICTURE = Buffer.from('a picture')
/** A request whose scene has a picture. */
const asked = (group_id: string, picture = PICTURE) => {
  const text = JSON.stringify(requested({ group_id }, `asked-${group_id}`).data)
  return JSON.parse(text.replaceAll('a'.repeat(64), hashOf(picture)))
}
const events = (...group_ids: readonly string[]) => ({
  events: group_ids.map((id) => ({ type: rolloutRequested.type, id, data: asked(id) })),
})

describe('events:', () => {
  beforeEach(async () => {
    await put(PICTURE)
  })

  test('that name a blob which is not stored are refused, and taken once it is', async () => {
    const other = Buffer.from('another picture')
    const data = asked('g1', other)
    const body = { events: [{ type: rolloutRequested.type, id: 'g1', data }] }
    expect(await send('POST /v1/events', { body })).toMatchObject({
      ...{ status: 409, body: { error: 'blobs_missing', blobs: [hashOf(other)] } },
    })
    await put(other)
    expect((await send('POST /v1/events', { body })).status).toBe(200)
  })

  test('are in the log when they are answered, once, with the name of the token as their source', async () => {
    const { status, body } = await send('POST /v1/events', { body: events('g1', 'g2') })
    expect([status, body]).toEqual([200, { ce_ids: [expect.stringMatching(/^\w{32}$/), expect.any(String)] }])
    expect(await send('POST /v1/events', { body: events('g2', 'g1') })).toMatchObject({
      ...{ status: 200, body: { ce_ids: [...body.ce_ids].reverse() } },
    })
    const records = await log.records(rolloutRequested.type)
    expect(records.map((record) => headerOf(record, 'ce_id')).sort()).toEqual([...body.ce_ids].sort())
    expect(records.map((record) => headerOf(record, 'ce_source'))).toEqual(['/published/gpu-1', '/published/gpu-1'])
  })

  test('that are sent twice at the same moment are in the log once', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => send('POST /v1/events', { body: events('g1') })))
    expect(new Set(answers.map(({ status, body }) => `${status} ${body.ce_ids}`)).size).toBe(1)
    expect(await log.records(rolloutRequested.type)).toHaveLength(1)
  })

  test('another event under an id that was sent before is refused', async () => {
    await send('POST /v1/events', { body: events('g1') })
    const other = { events: [{ type: rolloutRequested.type, id: 'g1', data: asked('g9') }] }
    expect(await send('POST /v1/events', { body: other })).toMatchObject(refusal(409, 'id_taken', /events\.0\.id/))
    expect(await log.records(rolloutRequested.type)).toHaveLength(1)
  })

  const one = (event: object) => ({
    events: [...events('ok').events, { type: rolloutRequested.type, id: 'x', data: asked('x'), ...event }],
  })
  test.each([
    [
      one({ type: 'rollout.wished' }),
      400,
      'invalid',
      /events\.1\.type: expected a declared event, got "rollout\.wished"/,
    ],
    [one({ type: 'rollout.group_formed' }), 403, 'forbidden', /is derived by a processor/],
    [one({ type: 'rollout.group_expired' }), 403, 'forbidden', /is derived by a processor/],
    [one({ type: 'training.run_started' }), 403, 'forbidden', /training\.\* is written by the program itself/],
    [one({ type: 'model.published' }), 403, 'forbidden', /model\.\* is written by the program itself/],
    [one({ type: 'tower.scene_presented' }), 403, 'forbidden', /token gpu-1: expected one for events of tower/],
    [one({ data: { ...asked('x'), group_size: -1 } }), 400, 'invalid', /events\.1: .*field group_size: expected/],
    [one({ data: { ...asked('x'), more: 1 } }), 400, 'invalid', /events\.1: .*more/],
    [one({ data: {} }), 400, 'invalid', /events\.1: .*field/],
    [one({ data: [] }), 400, 'invalid', /events\.1\.data/],
    [one({ id: undefined }), 400, 'invalid', /events\.1\.id/],
    [one({ time: 'yesterday' }), 400, 'invalid', /events\.1\.time/],
    [one({ source: '/processors/x' }), 400, 'invalid', /source/],
    [
      one({ data: { ...asked('x'), prompt: { ...asked('x').prompt, text: 'x'.repeat(600_000) } } }),
      400,
      'invalid',
      /events\.1/,
    ],
    [{ events: [] }, 400, 'invalid', /events/],
    [{ events: Array.from({ length: 1_001 }, () => ({})) }, 400, 'invalid', /events/],
  ])(
    '%#: a call with one that is not valid is refused in words, and none of its events is taken',
    async (body, status, error, says) => {
      expect(await send('POST /v1/events', { body })).toMatchObject(refusal(status, error, says))
      expect(await log.records(rolloutRequested.type)).toHaveLength(0)
    },
  )

  test('a body that is too large is refused', async () => {
    const body = { events: [{ type: 'x'.repeat(17 * 2 ** 20) }] }
    expect(await send('POST /v1/events', { body })).toMatchObject(refusal(413, 'too_large', /at most/))
  })

  test('a body that trickles in is answered 408, and its connection is closed', async () => {
    const [host = '', port = ''] = server.address.split(':')
    const answer = await new Promise<string>((resolve, reject) => {
      let text = ''
      const socket = connect(Number(port), host, () =>
        socket.write(
          `POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${tokens.all}\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{"ev`,
        ),
      )
      socket.on('data', (chunk) => {
        text += chunk
      })
      socket.on('close', () => resolve(text))
      socket.on('error', reject)
    })
    expect(answer).toMatch(/^HTTP\/1\.1 408 .*"too_slow"/s)
  })
})

const file = (bytes: Uint8Array, name = 'model.onnx') => ({ name, sha256: hashOf(bytes), bytes: bytes.byteLength })
const model = (more: object = {}) => ({ lineage: 'sweep', version: 1, files: [file(WEIGHTS)], ...more })
const publish = (more: object = {}, options: Sent = {}) => send('POST /v1/models', { body: model(more), ...options })

describe('models:', () => {
  beforeEach(async () => {
    await put(WEIGHTS)
  })

  test('are one event in every partition, and the same call again is answered the same', async () => {
    const first = await publish({ metrics: { loss: 0.5 } })
    expect([first.status, first.body]).toEqual([
      200,
      { model_id: 'sweep@1', event_id: expect.stringMatching(/^\w{32}$/) },
    ])
    expect((await publish({ metrics: { loss: 0.5 } })).body).toEqual(first.body)
    const records = await log.records(modelPublished.type)
    expect(records.map((record) => headerOf(record, 'ce_id'))).toEqual([1, 2, 3].map(() => first.body.event_id))
    expect(headerOf(records[0] as (typeof records)[0], 'ce_source')).toBe('/sources/models/gpu-1')
  })

  test('a version is used once: other contents are refused, and so is a lower one, also at the same moment', async () => {
    const versions = await Promise.all([1, 2, 3].map((loss) => publish({ version: 7, metrics: { loss } })))
    expect(versions.map(({ status }) => status).sort()).toEqual([200, 409, 409])
    expect(await publish({ version: 7, metrics: { loss: 4 } })).toMatchObject(
      refusal(409, 'version_taken', /version 7 is published/),
    )
    expect(await publish({ version: 6 })).toMatchObject(refusal(409, 'version_taken', /above 7/))
    expect((await publish({ version: 8 })).status).toBe(200)
  })

  test('one whose files are not stored, are of another size, or do not pass the check is refused', async () => {
    const away = Buffer.from('never sent')
    expect(await publish({ files: [file(WEIGHTS), file(away, 'encoder.onnx')] })).toMatchObject({
      ...{ status: 409, body: { error: 'blobs_missing', blobs: [hashOf(away)] } },
    })
    expect(await publish({ files: [{ ...file(WEIGHTS), bytes: 5 }] })).toMatchObject(
      refusal(400, 'invalid', /expected 5 bytes/),
    )
    problems.push('model.onnx: no graph')
    expect(await publish()).toMatchObject({ status: 409, body: { error: 'not_sound', problems } })
    expect(await log.records(modelPublished.type)).toHaveLength(0)
  })

  test.each([
    [{ files: [] }, /files/],
    [{ files: [file(WEIGHTS, '../model.onnx')] }, /files\.0\.name/],
    [{ files: [file(WEIGHTS, 'weights.pkl')] }, /files\.0\.name/],
    [{ files: [file(WEIGHTS), file(WEIGHTS)] }, /model\.onnx: expected each file once/],
    [{ files: [{ ...file(WEIGHTS), url: 'http://x' }] }, /url/],
    [{ files: [{ ...file(WEIGHTS), bytes: 2 ** 31 }] }, /at most 1073741824 bytes/],
    [{ version: -1 }, /version/],
    [{ role: 'king' }, /role/],
    [{ metrics: { loss: 'low' } }, /metrics/],
  ])('%j: refused in words', async (more, says) => {
    expect(await publish(more)).toMatchObject(refusal(400, 'invalid', says))
  })

  test('of a run: its current epoch publishes in its lineage, an earlier one is fenced', async () => {
    const run = { run: 'r1', attempt: 'a' }
    await send('PUT /v1/consumers/lab', { body: {} })
    await send('POST /v1/consumers/lab/runs', { body: run })
    const trained_at = { consumer: 'lab', run: 'r1', epoch: 1, step: 0 }
    const of_run = (more: object = {}) => publish({ lineage: 'lab/r1', version: 0, trained_at, ...more })
    expect((await of_run()).body).toMatchObject({ model_id: 'lab/r1@0' })
    expect(await of_run({ lineage: 'sweep' })).toMatchObject(refusal(400, 'invalid', /lineage: expected lab\/r1/))
    expect(await of_run({ trained_at: { ...trained_at, step: 3 } })).toMatchObject(refusal(400, 'invalid', /at most 0/))
    expect(await of_run({ trained_at: { ...trained_at, run: 'r2' } })).toMatchObject(
      refusal(400, 'invalid', /run: expected r1/),
    )
    expect(await of_run({ trained_at: null })).toMatchObject(refusal(400, 'invalid', /lineage lab\/r1 is of a run/))
    expect(await of_run({ trained_at: { ...trained_at, consumer: 'eval' } })).toMatchObject(
      refusal(403, 'forbidden', /consumer eval/),
    )
    await send('POST /v1/consumers/lab/runs', { body: { ...run, attempt: 'b' } })
    expect(await of_run({ version: 1 })).toMatchObject(refusal(409, 'fenced', /epoch 2 of run r1/))
    const again = (await send('GET /v1/consumers/lab')).body.run
    // The run that started again publishes in a lineage of its own.
    expect(again.lineage).not.toBe('lab/r1')
    const now = await publish({ lineage: again.lineage, version: 1, trained_at: { ...trained_at, epoch: 2 } })
    expect(now.status).toBe(200)
  })
})

describe('who may what:', () => {
  const calls: [string, Role, Sent][] = [
    [`GET /v1/blobs/${'e'.repeat(64)}`, 'read', {}],
    [`PUT /v1/blobs/${'e'.repeat(64)}`, 'publish', { body: WEIGHTS }],
    ['POST /v1/events', 'publish', { body: {} }],
    ['POST /v1/models', 'publish', { body: {} }],
    ['GET /v1/sql?query=select%201', 'sql', {}],
  ]

  test('a body whose length is not named is refused', async () => {
    const status = await new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${tokens.all}`, 'transfer-encoding': 'chunked' }
      const sent = request(`http://${server.address}/v1/events`, { method: 'POST', headers }, (answer) => {
        resolve(answer.statusCode)
      })
      sent.on('error', reject)
      sent.end('{}')
    })
    expect(status).toBe(411)
  })

  test.each(calls)('%s needs a token with the role %s', async (call, role, sent) => {
    const lacking = role === 'read' ? tokens.elsewhere : tokens.reader
    expect(await send(call, { ...sent, token: 'guessed' })).toMatchObject({ status: 401 })
    expect(await send(call, { ...sent, token: lacking })).toMatchObject(
      refusal(403, 'forbidden', new RegExp(`the role ${role}`)),
    )
    await put(WEIGHTS)
    expect([400, 404, 422]).toContain((await send(call, sent)).status)
    const in_url = `${call}${call.includes('?') ? '&' : '?'}token=${tokens.all}`
    expect(await send(in_url, sent)).toMatchObject(refusal(400, 'invalid', /expected no token in the URL/))
  })

  test('without tokens nobody publishes or asks, and everybody on this machine reads', async () => {
    const { doors, close } = await doorsOf(log)
    const free = await serveHttp(feedRoutes(log.feed(), { doors }), { host: '127.0.0.1', port: 0, errorAnswer })
    for (const [call, role] of calls) {
      const [method = '', path = ''] = call.split(' ')
      const answer = await fetch(`http://${free.address}${path}`, { method })
      if (role === 'read') expect([404, 503]).toContain(answer.status)
      else {
        expect(answer.status, call).toBe(403)
        expect(await answer.json()).toMatchObject({ message: expect.stringMatching(/start it with --tokens/) })
      }
    }
    await free.close()
    await close()
  })
})

test('400 hostile requests for each path by raw sockets get answers, none an internal error', async () => {
  await put(WEIGHTS)
  const headers = [`authorization: Bearer ${tokens.all}`]
  for (const path of [`/v1/blobs/${hashOf(WEIGHTS)}`, '/v1/events', '/v1/models', '/v1/sql?query=select%201']) {
    const { faults } = await sendRawHttp({ seed: path, requests: 400, address: server.address, path, headers })
    expect(faults).toEqual([])
  }
  expect((await send(`GET /v1/blobs/${hashOf(WEIGHTS)}`)).status).toBe(200)
})
