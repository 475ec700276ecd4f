import { readFile } from 'node:fs/promises'
import { RecordBatchReader } from 'apache-arrow'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { memoryBlobs } from '../../infra/blobs/memory.ts'
import { serveHttp } from '../../infra/http/http-server.ts'
import type { Listening } from '../../infra/http/listen.ts'
import { groupFormed } from '../../schemas/events/rollout.ts'
import { encodeEvent } from '../../schemas/wire/codec.ts'
import { doorsOf } from '../../testing/feed-doors.ts'
import { FeedLog, formed } from '../../testing/feed-log.ts'
import { sendRawHttp } from '../../tests/fuzz/raw-http.ts'
import { errorAnswer, feedRoutes } from './routes.ts'

let log: FeedLog
let server: Listening

beforeEach(async () => {
  log = await FeedLog.create()
  server = await serveHttp(feedRoutes(log.feed()), { host: '127.0.0.1', port: 0, errorAnswer })
})
afterEach(async () => {
  await server.close()
  await log.close()
})

interface Answer {
  readonly status: number
  readonly body: unknown
}

async function send(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const sent = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }
  const answer = await fetch(`http://${server.address}${path}`, {
    ...{ method, headers: { 'content-type': 'application/json', ...headers } },
    ...sent,
  })
  const text = await answer.text()
  return {
    status: answer.status,
    body: answer.headers.get('content-type')?.startsWith('application/json') ? JSON.parse(text) : text,
  }
}

const LAB = '/v1/consumers/lab'
const start = async () => {
  await send('PUT', LAB, {})
  return await send('POST', `${LAB}/runs`, { run: 'r1', attempt: 'a' })
}
const lease = (groups: number, request = 'x') =>
  fetch(`http://${server.address}${LAB}/leases`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ epoch: 1, rank: 0, groups, request }),
  })

test('a call without a body in JSON is refused and changes nothing, and one by another method names those that there are', async () => {
  const at = `http://${server.address}`
  for (const method of ['PUT', 'DELETE']) {
    const answer = await fetch(`${at}${LAB}`, { method })
    expect([answer.status, await answer.json()]).toEqual([
      400,
      { error: 'invalid', message: 'body: expected JSON, with the header Content-Type: application/json' },
    ])
  }
  expect(await send('GET', '/v1/consumers')).toEqual({ status: 200, body: { consumers: [] } })
  const patched = await fetch(`${at}${LAB}`, { method: 'PATCH' })
  expect([patched.status, patched.headers.get('allow')]).toEqual([405, 'DELETE, GET, HEAD, PUT'])
  const gotten = await fetch(`${at}${LAB}/leases`)
  expect([gotten.status, gotten.headers.get('allow')]).toEqual([405, 'POST'])
  expect((await send('POST', '/v1/nothing', {})).status).toBe(404)
})

test('a trainer subscribes, starts, leases, steps, and makes its groups durable', async () => {
  await log.form(3)
  expect(await start()).toMatchObject({ status: 200, body: { epoch: 1, lineage: 'lab/r1', step: 0, lease_ms: 60_000 } })
  expect((await lease(2)).status).toBe(200)
  const rank = { epoch: 1, rank: 0 }
  const groups = [0, 1].map((sequence) => ({ sequence, lease: 1 }))
  expect(await send('POST', `${LAB}/steps`, { ...rank, step: 1, groups })).toEqual({ status: 200, body: { begun: 2 } })
  expect(await send('POST', `${LAB}/heartbeats`, rank)).toEqual({ status: 200, body: { leased: [0, 1] } })
  const receipt = { ...rank, step: 1, loss: 0.5, metrics: { kl: 0.1 } }
  expect(await send('POST', `${LAB}/receipts`, receipt)).toEqual({ status: 200, body: { applied: 2 } })
  const checkpoint = { epoch: 1, checkpoint: 'c', step: 1, weights_sha256: 'w', groups: [0, 1] }
  expect(await send('POST', `${LAB}/checkpoints`, checkpoint)).toEqual({ status: 200, body: { durable: 2 } })
  expect(await send('GET', LAB)).toMatchObject({
    body: { counts: { durable: 2 }, checkpoints: [{ checkpoint: 'c', run: 'r1', step: 1 }] },
  })
  expect(await send('GET', '/v1/consumers')).toEqual({ status: 200, body: { consumers: ['lab'] } })
  expect(await send('DELETE', LAB, { reason: 'done' })).toMatchObject({ status: 200, body: { retired: 'done' } })
})

test('a lease is an Arrow stream with a batch for each group, large columns included, and the lease in its metadata', async () => {
  const wide = formed('wide', { rewards: [1, 0, 2], time: '2026-01-01T01:00:00.000Z' })
  const tokens = Array.from({ length: 40_000 }, (_, at) => at)
  await log.form(2)
  await log.appendLarge({ ...wide, data: wide.data.map((row) => ({ ...row, token_ids: tokens })) })
  await start()
  const answer = await lease(5)
  expect(answer.headers.get('content-type')).toBe('application/vnd.apache.arrow.stream')
  const reader = RecordBatchReader.from(new Uint8Array(await answer.arrayBuffer())).open()
  const { metadata } = reader.schema
  const batches = [...reader]
  expect(JSON.parse(metadata.get('plumbline.lease') ?? '')).toMatchObject({
    ...{ lease: 1, epoch: 1, rank: 0 },
    groups: [
      { sequence: 0, group_id: 'g0' },
      { sequence: 1, group_id: 'g1' },
      { sequence: 2, group_id: 'wide' },
    ],
  })
  expect(batches.map((batch) => batch.numRows)).toEqual([2, 2, 3])
  expect(batches.map((batch) => batch.getChild('group_id')?.get(0))).toEqual(['g0', 'g1', 'wide'])
  expect(batches[1]?.getChild('reward')?.toArray()).toEqual(new Float64Array([1, 0]))
  expect([...(batches[2]?.getChild('token_ids')?.get(2) ?? [])]).toEqual(tokens)
})

test('a lease whose blob is missing is answered 503, and the same one is given once the blob is back', async () => {
  const wide = formed('wide')
  const tokens = Array.from({ length: 40_000 }, (_, at) => at)
  const large = { ...wide, data: wide.data.map((row) => ({ ...row, token_ids: tokens })) }
  await log.appendLarge(large)
  await start()
  await lease(1)
  await server.close()
  const blobs = memoryBlobs()
  const feed = log.feed({ blobs })
  server = await serveHttp(feedRoutes(feed), { host: '127.0.0.1', port: 0, errorAnswer })
  const away = await lease(1)
  expect(away.status).toBe(503)
  expect(await away.json()).toMatchObject({ error: 'unavailable', message: expect.stringMatching(/blob \w+/) })
  for (const { bytes, ref } of encodeEvent(groupFormed, large).blobs) await blobs.put(bytes, ref.media_type)
  expect((await lease(1)).status).toBe(200)
})

test('a lease without groups is answered 204', async () => {
  await start()
  expect((await lease(1)).status).toBe(204)
})

describe('a call that is not valid is refused in words:', () => {
  test.each([
    ['POST', `${LAB}/leases`, '{"epoch":', 400, /^body: Malformed JSON/],
    ['POST', `${LAB}/leases`, { epoch: '1' }, 400, /^epoch: .*expected number/],
    ['POST', `${LAB}/leases`, { epoch: 1, rank: 0, request: 'x', groups: 1e9 }, 400, /^groups: /],
    ['POST', `${LAB}/leases`, { epoch: 1, rank: 0, request: 'x', group: 1 }, 400, /^body: Unrecognized key: "group"/],
    ['POST', `${LAB}/leases`, { epoch: 1, rank: 7, request: 'x' }, 400, /^rank: expected 0 to 0/],
    ['POST', `${LAB}/steps`, { epoch: 1, rank: 0, step: 1, groups: [] }, 400, /^groups: /],
    ['POST', `${LAB}/receipts`, { epoch: 1, rank: 0, step: 1, loss: 'high' }, 400, /^loss: /],
    ['PUT', '/v1/consumers/UP', {}, 400, /^consumer: /],
    ['PUT', LAB, { max_staleness: -1 }, 400, /^max_staleness: /],
    ['GET', '/v1/consumers/nobody', undefined, 404, /^consumer nobody: expected a subscription/],
    ['GET', '/v1/consumers/../../etc', undefined, 404, /see \/openapi.json/],
    ['POST', `${LAB}/runs`, { run: 'r1', attempt: 'b', resume: 'c9' }, 404, /^consumer lab: checkpoint c9 of run r1/],
    ['POST', `${LAB}/heartbeats`, { epoch: 9, rank: 0 }, 409, /epoch 1 of run r1 is the current one, got epoch 9/],
  ])('%s %s %j', async (method, path, body, status, says) => {
    await start()
    expect(await send(method, path, body)).toMatchObject({ status, body: { message: expect.stringMatching(says) } })
  })

  test('a body that is too large', async () => {
    const body = `{"reason":"${'x'.repeat(17 * 2 ** 20)}"}`
    expect(await send('PUT', LAB, body)).toMatchObject({ status: 413, body: { error: 'too_large' } })
  })

  test('from a page of a browser: another Origin', async () => {
    const answer = await send('GET', '/v1/consumers', undefined, { origin: 'http://evil.example' })
    expect(answer).toMatchObject({ status: 403, body: { error: 'forbidden' } })
  })
})

test('400 hostile requests by raw sockets get answers, none an internal error, and the feed goes on', async () => {
  await start()
  const { faults } = await sendRawHttp({ seed: '1', requests: 400, address: server.address, path: LAB })
  expect(faults).toEqual([])
  expect((await send('GET', LAB)).status).toBe(200)
})

test('docs/feed.md lists every call that the OpenAPI document has', async () => {
  const { doors, close } = await doorsOf(log)
  await server.close()
  server = await serveHttp(feedRoutes(log.feed(), { doors }), { host: '127.0.0.1', port: 0, errorAnswer })
  const { body } = await send('GET', '/openapi.json')
  await close()
  const page = await readFile(new URL('../../docs/feed.md', import.meta.url), 'utf8')
  const calls = Object.entries((body as { paths: Record<string, object> }).paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path.replace('{consumer}', 'C')}`),
  )
  expect(calls).toHaveLength(17)
  for (const call of calls) expect(page).toContain(`\`${call}\``)
})
