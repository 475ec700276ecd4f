import { get } from 'node:https'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { connect as connectTls } from 'node:tls'
import { Hono } from 'hono'
import { describe, expect, onTestFinished, test } from 'vitest'
import { certificate, NO_OPENSSL } from '../../testing/certificate.ts'
import { serveHttp } from './http-server.ts'

const app = () => new Hono().get('/', (context) => context.text('hello'))

async function serving(options: { readonly cert: string; readonly key: string; readonly max_connections?: number }) {
  const { cert, key, ...rest } = options
  const server = await serveHttp(app(), { host: '127.0.0.1', port: 0, tls: { cert, key }, ...rest })
  onTestFinished(() => server.close())
  const [, port = ''] = server.address.split(':')
  return { address: server.address, port: Number(port) }
}

function fetched(port: number, ca?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const trusting = ca === undefined ? {} : { ca }
    get({ host: '127.0.0.1', port, path: '/', agent: false, ...trusting }, (answer) => resolve(text(answer))).on(
      'error',
      reject,
    )
  })
}

describe.skipIf(NO_OPENSSL)('a server with a certificate', () => {
  test('answers clients that trust it, and others do not talk to it', async () => {
    const { cert, key } = await certificate()
    const { port } = await serving({ cert, key })
    expect(await fetched(port, cert)).toBe('hello')
    await expect(fetched(port)).rejects.toThrow('self-signed certificate')
    await expect(fetched(port, (await certificate()).cert)).rejects.toThrow('self-signed certificate')
  })

  test('speaks no plain HTTP and no old TLS, goes on after what is neither, and closes with open connections', async () => {
    const { cert, key } = await certificate()
    const { address, port } = await serving({ cert, key })
    await expect(fetch(`http://${address}/`)).rejects.toThrow()
    const old = new Promise((_, reject) => {
      const versions = { maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' } as const
      connectTls({ host: '127.0.0.1', port, ca: cert, ...versions }).on('error', reject)
    })
    await expect(old).rejects.toThrow(/protocol version/)
    for (const bytes of ['\0'.repeat(300), '\x16\x03\x01', 'GET / HTTP/1.1\r\n\r\n']) {
      const socket = connect(port, '127.0.0.1', () => socket.end(bytes))
      await new Promise((resolve) => socket.on('error', resolve).on('close', resolve).resume())
    }
    const idle = connect(port, '127.0.0.1')
    idle.on('error', () => {})
    onTestFinished(() => void idle.destroy())
    expect(await fetched(port, cert)).toBe('hello')
  })

  test('keeps the limit of connections', async () => {
    const { cert, key } = await certificate()
    const { port } = await serving({ cert, key, max_connections: 1 })
    const idle = connect(port, '127.0.0.1')
    onTestFinished(() => void idle.destroy())
    await new Promise((resolve) => idle.on('connect', resolve))
    await expect(fetched(port, cert)).rejects.toThrow()
  })

  test('answers a malformed request within TLS in words of HTTP', async () => {
    const { cert, key } = await certificate()
    const { port } = await serving({ cert, key })
    const socket = connectTls({ host: '127.0.0.1', port, ca: cert }, () => socket.write('nonsense\r\n\r\n'))
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 400 Bad Request/)
  })

  test('does not start with the key of another one', async () => {
    const [{ cert }, { key }] = await Promise.all([certificate(), certificate()])
    await expect(serving({ cert, key })).rejects.toThrow('key values mismatch')
  })
})
