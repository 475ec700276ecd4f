import { execFile } from 'node:child_process'
import { readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { serveHttp } from '../../../infra/http/http-server.ts'
import type { Listening } from '../../../infra/http/listen.ts'
import { FeedLog } from '../../../testing/feed-log.ts'
import { temporaryFolder } from '../../../testing/temporary-folder.ts'
import { sendRawHttp } from '../../../tests/fuzz/raw-http.ts'
import { errorAnswer, feedRoutes } from '../routes.ts'
import { addToken } from './add-token.ts'
import { hashOf, parseTokens, type Role, TokenFile } from './tokens.ts'

let file: string
let reported: string[]
let now_ms: number

beforeEach(async () => {
  file = join(await temporaryFolder(), 'tokens.json')
  reported = []
  now_ms = 0
})

const add = (name: string, consumers: string[], roles: Role[]) => addToken(file, { name, consumers, roles, events: [] })

const opened = () => TokenFile.open(file, { report: (message) => void reported.push(message), now_ms: () => now_ms })

/** A feed that knows the tokens of the file. */
async function served(): Promise<Listening> {
  const log = await FeedLog.create()
  const options = { host: '127.0.0.1', port: 0, errorAnswer }
  const server = await serveHttp(feedRoutes(log.feed(), { tokens: await opened() }), options)
  onTestFinished(async () => {
    await server.close()
    await log.close()
  })
  return server
}

interface Sent {
  readonly token?: string
  readonly body?: unknown
  readonly headers?: Record<string, string>
}

async function send(server: Listening, call: string, { token, body, headers = {} }: Sent = {}) {
  const [method = '', path = ''] = call.split(' ')
  const answer = await fetch(`http://${server.address}${path}`, {
    method,
    headers: {
      'content-type': 'application/json',
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await answer.text()
  const is_json = answer.headers.get('content-type')?.startsWith('application/json')
  return { status: answer.status, headers: answer.headers, body: is_json ? JSON.parse(text) : text }
}

interface Document {
  readonly paths: Record<string, Record<string, { readonly security?: readonly { readonly bearer?: Role[] }[] }>>
  readonly components: { readonly securitySchemes?: Record<string, object> }
}

/** Every call of the OpenAPI document, of the consumer lab, with the role that it needs. */
async function callsOf(server: Listening): Promise<{ call: string; role: Role }[]> {
  const { body } = await send(server, 'GET /openapi.json')
  return Object.entries((body as Document).paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { security }]) => ({
      call: `${method.toUpperCase()} ${path.replace('{consumer}', 'lab')}`,
      role: security?.[0]?.bearer?.[0] as Role,
    })),
  )
}

test('every call needs a token, with the role that the OpenAPI document names, and for its consumer', async () => {
  const tokens = {
    read: await add('reads', ['lab'], ['read']),
    receipts: await add('records', ['lab'], ['receipts']),
    publish: await add('publishes', ['lab'], ['publish', 'sql']),
  }
  const elsewhere = await add('elsewhere', ['eval-*'], ['read', 'receipts'])
  const server = await served()
  const calls = await callsOf(server)
  expect(calls.map(({ call, role }) => `${role}: ${call}`).sort()).toEqual([
    'read: GET /v1/consumers',
    'read: GET /v1/consumers/lab',
    'read: POST /v1/consumers/lab/heartbeats',
    'read: POST /v1/consumers/lab/leases',
    'read: POST /v1/consumers/lab/releases',
    'receipts: DELETE /v1/consumers/lab',
    'receipts: POST /v1/consumers/lab/checkpoints',
    'receipts: POST /v1/consumers/lab/drops',
    'receipts: POST /v1/consumers/lab/receipts',
    'receipts: POST /v1/consumers/lab/runs',
    'receipts: POST /v1/consumers/lab/steps',
    'receipts: PUT /v1/consumers/lab',
  ])
  for (const { call, role } of calls) {
    const body = call.startsWith('GET') ? {} : { body: {} }
    const none = await send(server, call, body)
    expect(none, call).toMatchObject({ status: 401, body: { error: 'unauthorised' } })
    expect(none.headers.get('www-authenticate')).toBe('Bearer')
    expect(await send(server, call, { ...body, token: 'guessed' })).toMatchObject({ status: 401 })
    for (const other of ['read', 'receipts', 'publish'] as const) {
      const { status, body: answer } = await send(server, call, { ...body, token: tokens[other] })
      // What is allowed gets to the checks of the call itself.
      if (other === role) expect([200, 400, 404], call).toContain(status)
      else {
        expect({ status, answer }, call).toMatchObject({
          status: 403,
          answer: { error: 'forbidden', message: expect.stringContaining(`the role ${role}, it has`) },
        })
      }
    }
    if (call === 'GET /v1/consumers') continue
    expect(await send(server, call, { ...body, token: elsewhere }), call).toMatchObject({
      status: 403,
      body: { error: 'forbidden', message: 'token elsewhere: expected a token with the consumer lab, it has eval-*' },
    })
  }
})

test('a list of consumers has those that the token may see', async () => {
  const all = await add('all', ['*'], ['read', 'receipts'])
  const some = await add('some', ['eval-*'], ['read'])
  const server = await served()
  for (const name of ['lab', 'eval-1', 'eval-2'])
    await send(server, `PUT /v1/consumers/${name}`, { token: all, body: {} })
  expect((await send(server, 'GET /v1/consumers', { token: all })).body).toEqual({
    consumers: expect.arrayContaining(['lab', 'eval-1', 'eval-2']),
  })
  const seen = await send(server, 'GET /v1/consumers', { token: some })
  expect((seen.body as { consumers: string[] }).consumers.sort()).toEqual(['eval-1', 'eval-2'])
})

test('health, readiness and the OpenAPI document need no token, any other path does', async () => {
  await add('reads', ['lab'], ['read'])
  const server = await served()
  for (const path of ['/healthz', '/readyz', '/openapi.json'])
    expect((await send(server, `GET ${path}`)).status, path).toBe(200)
  for (const path of ['/metrics', '/', '/healthz/', '//healthz', '/healthz/../v1/consumers', '/HEALTHZ'])
    expect((await send(server, `GET ${path}`)).status, path).toBe(401)
  const { body } = await send(server, 'GET /openapi.json')
  expect((body as Document).components.securitySchemes).toMatchObject({ bearer: { type: 'http', scheme: 'bearer' } })
})

test('a token in the URL is refused, a good one too', async () => {
  const token = await add('reads', ['lab'], ['read'])
  const server = await served()
  for (const query of [`?token=${token}`, `?access_token=${token}`, `?a=1&Token=${token}`, '?token']) {
    for (const sent of [{}, { token }]) {
      const refusal = await send(server, `GET /v1/consumers${query}`, sent)
      expect(refusal).toMatchObject({
        status: 400,
        body: { message: expect.stringContaining('Authorization: Bearer') },
      })
      expect(JSON.stringify(refusal.body)).not.toContain(token)
    }
  }
})

test('with tokens a feed is reached under any name', async () => {
  const token = await add('reads', ['*'], ['read'])
  const server = await served()
  const headers = { origin: 'https://feed.example' }
  expect((await send(server, 'GET /v1/consumers', { token, headers })).status).toBe(200)
})

test('hostile requests by raw sockets get answers, none an internal error', async () => {
  await add('reads', ['lab'], ['read'])
  const server = await served()
  const { faults } = await sendRawHttp({ seed: '2', requests: 200, address: server.address, path: '/v1/consumers/lab' })
  expect(faults).toEqual([])
})

describe('a file of tokens', () => {
  test('is read again when it changes, at most once a second', async () => {
    const first = await add('first', ['lab'], ['read'])
    const tokens = await opened()
    const second = await add('second', ['lab'], ['read'])
    expect(await tokens.find(second)).toBeUndefined()
    now_ms = 1_000
    expect(await Promise.all([tokens.find(first), tokens.find(second)])).toMatchObject([
      { name: 'first' },
      { name: 'second' },
    ])
    await writeFile(file, '{"tokens": []}')
    now_ms = 2_500
    expect(await tokens.find(first)).toBeUndefined()
    expect(reported).toEqual([])
  })

  test('that is no longer valid keeps the tokens of before, and is reported once', async () => {
    const token = await add('first', ['lab'], ['read'])
    const server = await served()
    const status = async () => {
      now_ms += 1_000
      return (await send(server, 'GET /v1/consumers', { token })).status
    }
    await writeFile(file, '{"tokens": [')
    expect([await status(), await status()]).toEqual([200, 200])
    expect(reported).toEqual([
      `${file}: expected JSON; the tokens that it had before stay valid until this is corrected`,
    ])
    await writeFile(file, '{"tokens": []}')
    expect(await status()).toBe(401)
    await writeFile(file, '[]')
    expect(await status()).toBe(401)
    expect(reported).toHaveLength(2)
  })

  const entry = { name: 'a', sha256: 'a'.repeat(64), consumers: ['lab', 'eval-*'], roles: ['read'] }
  test.each([
    [{}, /^tokens: /],
    [{ tokens: [{ ...entry, role: 'read' }] }, /^tokens\.0: Unrecognized key: "role"/],
    [{ tokens: [{ ...entry, roles: [] }] }, /^tokens\.0\.roles: /],
    [{ tokens: [{ ...entry, roles: ['write'] }] }, /^tokens\.0\.roles\.0: .*"read"\|"receipts"\|"publish"\|"sql"/],
    [{ tokens: [{ ...entry, consumers: ['*lab'] }] }, /^tokens\.0\.consumers\.0: expected the name of a consumer/],
    [{ tokens: [{ ...entry, consumers: 'lab' }] }, /^tokens\.0\.consumers: /],
    [{ tokens: [{ ...entry, events: ['Game play'] }] }, /^tokens\.0\.events\.0: expected an event type/],
    [{ tokens: [{ ...entry, sha256: 'a-secret' }] }, /^tokens\.0\.sha256: expected the SHA-256 of the token, 64/],
    [{ tokens: [entry, { ...entry, name: 'b' }] }, /^tokens\.1\.sha256: another token has the same/],
    [{ tokens: [entry, { ...entry, sha256: 'b'.repeat(64) }] }, /^tokens\.1\.name: another token has the same/],
  ])('%j is refused in words, and quotes no token', (value, says) => {
    let message = ''
    try {
      parseTokens(JSON.stringify(value))
    } catch (error) {
      message = String((error as Error).message)
    }
    expect(message).toMatch(says)
    expect(message).not.toContain('a-secret')
  })
  test('may name events and every role', () => {
    const token = { ...entry, roles: ['read', 'receipts', 'publish', 'sql'], events: ['gameplay.*', 'model.published'] }
    expect(parseTokens(JSON.stringify({ tokens: [token] }))).toEqual([token])
  })
})

describe('a new token', () => {
  test('is in the file as a hash, which only this user may read', async () => {
    const token = await add('gpu-1', ['lab'], ['read', 'receipts'])
    expect(token).toMatch(/^[A-Za-z0-9_-]{32}$/)
    const text = await readFile(file, 'utf8')
    expect(text).not.toContain(token)
    expect(JSON.parse(text)).toEqual({
      tokens: [
        {
          ...{ name: 'gpu-1', sha256: hashOf(token).toString('hex') },
          ...{ consumers: ['lab'], roles: ['read', 'receipts'], events: [] },
        },
      ],
    })
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect(await readdir(join(file, '..'))).toEqual(['tokens.json'])
  })

  test('is not added under a name that is there, to a file that is not valid, or at the same moment as another', async () => {
    await add('gpu-1', ['lab'], ['read'])
    await expect(add('gpu-1', ['lab'], ['read'])).rejects.toThrow('it has a token with the name gpu-1')
    await expect(add('gpu 2', ['lab'], ['read'])).rejects.toThrow('expected a name of letters')
    const results = await Promise.allSettled(['a', 'b', 'c'].map((name) => add(name, ['lab'], ['read'])))
    const added = results.filter(({ status }) => status === 'fulfilled')
    expect(parseTokens(await readFile(file, 'utf8'))).toHaveLength(1 + added.length)
    await writeFile(file, 'my notes')
    await expect(add('d', ['lab'], ['read'])).rejects.toThrow('expected JSON')
    expect(await readFile(file, 'utf8')).toBe('my notes')
    await writeFile(file, '{"tokens": []}')
    await writeFile(`${file}.new`, '')
    await expect(add('e', ['lab'], ['read'])).rejects.toThrow('another process adds a token now')
  })

  test('is added to no device, folder or pipe, nor is such a one read', async () => {
    const pipe = join(file, '..', 'pipe')
    await promisify(execFile)('mkfifo', [pipe])
    for (const [place, says] of [
      ['/dev/null', 'expected a regular file'],
      ['/dev/zero', 'expected a regular file'],
      [pipe, 'expected a regular file'],
      [join(file, '..'), /expected a regular file|EISDIR/],
      [join(file, 'below', 'it'), /ENOENT|ENOTDIR/],
    ] as const) {
      const wanted = { name: 'a', consumers: [], roles: ['read'] satisfies Role[], events: [] }
      await expect(addToken(place, { ...wanted }), place).rejects.toThrow(says)
      await expect(TokenFile.open(place, { report: () => {} }), place).rejects.toThrow(says)
    }
    expect((await stat('/dev/null')).isCharacterDevice()).toBe(true)
    expect(await readdir(join(file, '..'))).toEqual(['pipe'])
  })

  test('leaves a link, and the permissions of the file behind it, as they are', async () => {
    await writeFile(file, '{"tokens": []}', { mode: 0o640 })
    const link = `${file}.link`
    await symlink(file, link)
    await addToken(link, { name: 'a', consumers: [], roles: ['sql'], events: [] })
    expect(parseTokens(await readFile(file, 'utf8'))).toHaveLength(1)
    expect((await stat(file)).mode & 0o777).toBe(0o640)
  })
})
