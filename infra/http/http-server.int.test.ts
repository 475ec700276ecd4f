import { connect } from 'node:net'
import { Hono } from 'hono'
import { describe, expect, onTestFinished, test } from 'vitest'
import { temporaryFolder } from '../../testing/temporary-folder.ts'
import { sendRawHttp } from '../../tests/fuzz/raw-http.ts'
import { serveBlobs } from '../blobs/server.ts'
import { serveMetrics } from '../runtime/watch/metrics-server.ts'
import { RunMetrics } from '../runtime/watch/run-metrics.ts'
import { RefusedError, serveHttp } from './http-server.ts'

const AT = { host: '127.0.0.1', port: 0 }

/** No check that the process lives is needed: an exception that escapes a server fails the test run. */
async function fuzzed(address: string, path: string, headers: readonly string[] = []) {
  const result = await sendRawHttp({ seed: '1', requests: 400, address, path, headers })
  expect(result.faults).toEqual([])
  expect(Object.keys(result.statuses)).toEqual(expect.arrayContaining(['200', '400', '404']))
}

describe('400 hostile requests by raw sockets get answers, none an internal error, and end no process:', () => {
  test('metrics and health', async () => {
    const server = await serveMetrics(new RunMetrics([], async () => new Map()), AT)
    onTestFinished(() => server.close())
    await fuzzed(server.address, '/metrics')
    expect((await fetch(`http://${server.address}/healthz`)).status).toBe(200)
    expect((await fetch(`http://${server.address}//`)).status).toBe(404)
  })

  test('blobs', async () => {
    const server = await serveBlobs({ ...AT, root: await temporaryFolder(), token: 'secret', max_bytes: 60_000 })
    onTestFinished(() => server.close())
    const path = `/v1/blobs/${'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'}`
    const headers = { authorization: 'Bearer secret' }
    expect((await fetch(`http://${server.address}${path}`, { method: 'PUT', body: '', headers })).status).toBe(201)
    await fuzzed(server.address, path, ['authorization: Bearer secret'])
    expect((await fetch(`http://${server.address}${path}`, { headers })).status).toBe(200)
  })
})

describe('a server', () => {
  async function serving(app: Hono, options = {}) {
    const server = await serveHttp(app, { ...AT, ...options })
    onTestFinished(() => server.close())
    return server.address
  }

  test('answers what a route throws: refusals with their status, outages with 503, the rest with 500', async () => {
    const app = new Hono()
      .get('/refused', () => {
        throw new RefusedError(422, 'not this')
      })
      .get('/away', () => {
        throw Object.assign(new Error('away'), { code: 'ECONNREFUSED' })
      })
      .get('/bug', async () => {
        throw new TypeError('a bug')
      })
    const address = await serving(app)
    const statuses = ['refused', 'away', 'bug'].map(async (path) => (await fetch(`http://${address}/${path}`)).status)
    expect(await Promise.all(statuses)).toEqual([422, 503, 500])
  })

  /** Sends some bytes and then nothing. @returns what arrived until the other side closed */
  function silent(address: string, bytes: string): Promise<string> {
    const [host = '', port = ''] = address.split(':')
    return new Promise((resolve, reject) => {
      let answer = ''
      const socket = connect(Number(port), host, () => socket.write(bytes))
      socket.on('data', (chunk) => {
        answer += chunk
      })
      socket.on('close', () => resolve(answer))
      socket.on('error', reject)
    })
  }

  test('closes a connection whose request never ends', async () => {
    const app = new Hono().put('/', async (context) => context.text(await context.req.text()))
    const address = await serving(app, { request_timeout_ms: 500 })
    const began_ms = performance.now()
    const answer = await silent(address, 'PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc')
    expect(answer).toMatch(/^(HTTP\/1\.1 408 .*)?$/s)
    expect(performance.now() - began_ms).toBeLessThan(8_000)
  })

  test('accepts a bounded number of connections, and more when those have ended', async () => {
    const address = await serving(
      new Hono().get('/', (context) => context.text('ok')),
      { max_connections: 3 },
    )
    const [host = '', port = ''] = address.split(':')
    const idle = await Promise.all(
      Array.from(
        { length: 3 },
        () =>
          new Promise<ReturnType<typeof connect>>((resolve) => {
            const socket = connect(Number(port), host, () => resolve(socket))
          }),
      ),
    )
    await expect(fetch(`http://${address}/`)).rejects.toThrow()
    for (const socket of idle) socket.destroy()
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect((await fetch(`http://${address}/`)).status).toBe(200)
  })
})
