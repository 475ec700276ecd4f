import { createHash } from 'node:crypto'
import { tableFromIPC } from 'apache-arrow'
import { beforeAll, expect, test } from 'vitest'
import { linearOnnx } from '../../testing/tiny-onnx.ts'
import { eventually, plumbline, plumblineOk, sharedFolder, start } from './plumbline.ts'

let cwd = ''
let url = ''
let token = ''
beforeAll(async () => {
  cwd = await sharedFolder()
  const may = ['--consumers', '*', '--roles', 'read,receipts,publish,sql', '--events', 'rollout.*']
  token = (await plumblineOk(['feed', 'token', 'lab', ...may, '--tokens', 'tokens.json'], { cwd })).trim()
  const feed = start(['feed', '--listen', '127.0.0.1:0', '--tokens', 'tokens.json', '--json'], { cwd })
  const [said] = await eventually(() => /^\{.*\}\n/.exec(feed.stdout()), 60_000)
  url = (JSON.parse(said) as { url: string }).url
})

const call = (method: string, path: string, body?: string | Buffer<ArrayBuffer>) =>
  fetch(`${url}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body }),
  })
const ask = (sql: string) => call('GET', `/v1/sql?query=${encodeURIComponent(sql)}`)

test('before a run has loaded tables, SQL is answered 503 in words', async () => {
  const answer = await ask('select 1')
  expect([answer.status, await answer.json()]).toEqual([
    503,
    { error: 'unavailable', message: expect.stringMatching(/^the tables cannot be asked: /) },
  ])
})

test('what is published through the feed is worked on, is found by SQL through it, and verify knows its sources', async () => {
  const scenes = '--dataset top_block --task x_only --scenes 2 --seed 7'.split(' ')
  await plumblineOk(['generate', 'tower', ...scenes], { cwd })
  const [line = ''] = (await plumblineOk(['tail', 'rollout.requested', '--json', '--limit', '1'], { cwd })).split('\n')
  const [data] = (JSON.parse(line) as { rows: [Record<string, unknown>] }).rows
  const event = { type: 'rollout.requested', id: 'mine', data: { ...data, group_id: 'asked-by-lab' } }
  for (const _ of [1, 2]) {
    const answer = await call('POST', '/v1/events', JSON.stringify({ events: [event] }))
    expect([answer.status, await answer.json()]).toEqual([200, { ce_ids: [expect.any(String)] }])
  }

  const publish = async (weights: Uint8Array) => {
    const sha256 = createHash('sha256').update(weights).digest('hex')
    expect((await call('PUT', `/v1/blobs/${sha256}`, Buffer.from(weights))).status).toBe(201)
    const tensor = { file: 'model.onnx', dtype: 'float32', shape: [8, 2] }
    const model = {
      ...{ role: 'router', lineage: 'sweep', version: 1 },
      files: [{ name: 'model.onnx', sha256, bytes: weights.byteLength }],
      ...{ inputs: [{ ...tensor, name: 'x' }], outputs: [{ ...tensor, name: 'y' }] },
    }
    const answer = await call('POST', '/v1/models', JSON.stringify(model))
    return [answer.status, await answer.json()]
  }
  expect(await publish(Buffer.from('weights'))).toMatchObject([
    409,
    { error: 'not_sound', problems: [expect.stringMatching(/^model.onnx: expected an ONNX model, found/)] },
  ])
  expect(await publish(linearOnnx(2, 1))).toMatchObject([200, { model_id: 'sweep@1' }])

  await plumblineOk(['run', '--until-idle'], { cwd })
  const rows = async (sql: string) => {
    const answer = await ask(sql)
    expect(answer.headers.get('content-type')).toBe('application/vnd.apache.arrow.stream')
    return tableFromIPC(new Uint8Array(await answer.arrayBuffer()))
      .toArray()
      .map((row) => ({ ...row }))
  }
  expect(
    await rows("select count(*)::int as formed from rollout.group_formed where group_id = 'asked-by-lab'"),
  ).toEqual([{ formed: expect.any(Number) }])
  expect(await rows("select distinct group_id from rollout.group_formed where group_id = 'asked-by-lab'")).toHaveLength(
    1,
  )
  expect(await rows('select distinct model_id, lineage, version::int as version from model.published')).toEqual([
    { model_id: 'sweep@1', lineage: 'sweep', version: 1 },
  ])

  const refused = await ask('selekt 1')
  expect([refused.status, await refused.json()]).toMatchObject([400, { error: 'sql_failed' }])
  const writing = await ask('delete from rollout.requested')
  expect([writing.status, await writing.json()]).toMatchObject([400, { error: 'sql_failed' }])
  const slow = await call(
    'GET',
    `/v1/sql?timeout_s=1&query=${encodeURIComponent('select sum(a.range * b.range) from range(10000000) a, range(10000000) b')}`,
  )
  expect([slow.status, await slow.json()]).toMatchObject([
    400,
    { error: 'sql_failed', message: expect.stringMatching(/interrupted after 1 s/) },
  ])
  expect((await call('GET', '/v1/sql')).status).toBe(400)

  const { code, stderr } = await plumbline(['verify'], { cwd })
  expect(code, stderr).toBe(0)
  // Known, and not of a program outside.
  expect(stderr).not.toMatch(/outside|\/published\/lab|\/sources\/models/)
})

test('nobody reads the rows: the statement ends with its reader', async () => {
  const headers = { authorization: `Bearer ${token}` }
  const query = encodeURIComponent("select range, repeat('x', 1000) as text from range(3000000)")
  // More of them than are answered at once.
  for (let reader = 0; reader < 6; reader++) {
    const left = new AbortController()
    const answer = await fetch(`${url}/v1/sql?query=${query}`, { headers, signal: left.signal })
    expect(answer.status).toBe(200)
    left.abort()
  }
  expect((await ask('select 1')).status).toBe(200)
})
