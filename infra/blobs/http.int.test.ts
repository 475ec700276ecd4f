import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { temporaryFolder } from '../../testing/temporary-folder.ts'
import { BlobCorruptError, BlobMissingError, BlobsAwayError } from './blobs.ts'
import { listed } from './conformance/steps.ts'
import { blobFile, directoryBlobs } from './directory.ts'
import { httpBlobs } from './http.ts'
import { serveBlobs } from './server.ts'

const TOKEN = 'a secret'
const LARGE = randomBytes(600_001)
const closing: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

async function served() {
  const root = await temporaryFolder()
  const server = await serveBlobs({ root, host: '127.0.0.1', port: 0, token: TOKEN })
  closing.push(() => server.close())
  const url = `http://${server.address}`
  return { root, url, port: Number(server.address.split(':')[1]), blobs: httpBlobs({ url, token: TOKEN }) }
}

/** A proxy in front of a server. `cut` sees how much the server has sent and may end the connection. */
async function proxy(port: number, cut: (sent: number, socket: Socket) => boolean) {
  let connections = 0
  const server = createServer((socket) => {
    connections++
    const upstream = connect(port, '127.0.0.1')
    let sent = 0
    socket.pipe(upstream)
    upstream.on('data', (chunk) => {
      sent += chunk.byteLength
      if (cut(sent, socket)) {
        socket.destroy()
        upstream.destroy()
      } else socket.write(chunk)
    })
    for (const side of [socket, upstream]) {
      side.on('error', () => {})
      side.on('close', () => {
        socket.destroy()
        upstream.destroy()
      })
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => void server.close())
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, connections: () => connections }
}

test('a blob is read back as it was put, and is one blob in the server’s folder', async () => {
  const { root, blobs } = await served()
  const ref = await blobs.put(LARGE, 'image/png')
  expect(ref).toEqual(await directoryBlobs(root).put(LARGE, 'image/png'))
  expect(Buffer.from(await blobs.get(ref))).toEqual(LARGE)
  expect(await blobs.has(ref)).toBe(true)
  const elsewhere = { ...ref, sha256: 'e'.repeat(64) }
  expect(await blobs.has(elsewhere)).toBe(false)
  await expect(blobs.get(elsewhere)).rejects.toThrow(BlobMissingError)
  const empty = await blobs.put(new Uint8Array(), 'text/plain')
  expect((await blobs.get(empty)).byteLength).toBe(0)
})

test('an interrupted download resumes where it stopped', async () => {
  const { root, port } = await served()
  const ref = await directoryBlobs(root).put(LARGE, 'image/png')
  let cuts = 0
  const flaky = await proxy(port, (sent) => sent > 150_000 && cuts++ < 2)
  expect(Buffer.from(await httpBlobs({ url: flaky.url, token: TOKEN }).get(ref))).toEqual(LARGE)
  expect(cuts).toBeGreaterThanOrEqual(2)

  const broken = await proxy(port, (sent) => sent > 300_000)
  const blobs = httpBlobs({ url: broken.url, token: TOKEN, tries: 1 })
  await expect(blobs.get(ref)).rejects.toThrow(/broke off on the way, in 1 tries/)
  const mute = await proxy(port, () => true)
  await expect(httpBlobs({ url: mute.url, token: TOKEN, tries: 2 }).get(ref)).rejects.toThrow(/connection was closed/)
  expect(mute.connections()).toBe(2)
})

test('the client gives up on a server that stalls', async () => {
  const { root, port } = await served()
  const ref = await directoryBlobs(root).put(LARGE, 'image/png')
  const stalled = await proxy(port, (_, socket) => {
    socket.pause()
    socket.write = () => true
    return false
  })
  const blobs = httpBlobs({ url: stalled.url, token: TOKEN, stall_ms: 150, tries: 2 })
  await expect(blobs.get(ref)).rejects.toThrow(/did not answer in time/)
  await expect(blobs.has(ref)).rejects.toThrow(BlobsAwayError)
})

test('a blob that was changed at the server is never returned', async () => {
  const { root, blobs } = await served()
  const ref = await blobs.put(LARGE, 'image/png')
  await writeFile(blobFile(root, ref.sha256), LARGE.subarray(1))
  await expect(blobs.get(ref)).rejects.toThrow(BlobCorruptError)
})

/** A server that answers in place of a blob server, or after it. */
async function answering(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createHttpServer(answer)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => void server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test.each([
  [200, '<html>log in</html>'],
  [404, '<html>no such page</html>'],
  [404, `no blob ${'e'.repeat(64)} here`],
  [201, 'made'],
  [206, 'part'],
  [204, ''],
  [403, 'forbidden'],
  [407, 'proxy'],
  [429, 'too many'],
  [500, 'broken'],
  [502, 'bad gateway'],
  [503, 'unavailable'],
  [504, 'too late'],
])('an answer of %i that does not come from a blob server reports no blob as missing', async (status, body) => {
  const url = await answering((_, response) => response.writeHead(status).end(body || undefined))
  const blobs = httpBlobs({ url, token: TOKEN, tries: 1 })
  const ref = { sha256: 'e'.repeat(64), bytes: 1, media_type: 'text/plain' }
  await expect(blobs.get(ref)).rejects.toThrow(BlobsAwayError)
  await expect(blobs.has(ref)).rejects.toThrow(BlobsAwayError)
  await expect(blobs.put(LARGE, 'image/png')).rejects.toThrow(BlobsAwayError)
})

test('a server whose folder is not mounted answers 503, and 404 once it is back', async () => {
  const { root, blobs } = await served()
  const ref = await blobs.put(LARGE, 'image/png')
  const elsewhere = { ...ref, sha256: 'e'.repeat(64) }
  await rename(root, `${root}-away`)
  await mkdir(root)
  await expect(blobs.get(ref)).rejects.toThrow(/answered 503: .*is it mounted\?/)
  await expect(blobs.get(elsewhere)).rejects.toThrow(BlobsAwayError)
  await expect(blobs.has(ref)).rejects.toThrow(BlobsAwayError)
  await expect(blobs.put(LARGE.subarray(1), 'image/png')).rejects.toThrow(BlobsAwayError)
  await rm(root, { recursive: true })
  await rename(`${root}-away`, root)
  expect(Buffer.from(await blobs.get(ref))).toEqual(LARGE)
  await expect(blobs.get(elsewhere)).rejects.toThrow(BlobMissingError)
})

test.each([
  ['cut short', LARGE.subarray(0, 1_000)],
  ['changed', Buffer.concat([LARGE.subarray(1), Buffer.from('?')])],
])('a body that is %s in transit is not a damaged blob', async (_, body) => {
  const { root, url: upstream } = await served()
  const ref = await directoryBlobs(root).put(LARGE, 'image/png')
  const url = await answering(async (request, response) => {
    const headers = { authorization: String(request.headers.authorization) }
    const answer = await fetch(`${upstream}${request.url}`, { method: String(request.method), headers })
    for (const [name, value] of answer.headers) if (name !== 'content-length') response.setHeader(name, value)
    response.writeHead(answer.status).end(request.method === 'GET' ? body : undefined)
  })
  const blobs = httpBlobs({ url, token: TOKEN, tries: 2 })
  await expect(blobs.get(ref)).rejects.toThrow(BlobsAwayError)
  await expect(blobs.get(ref)).rejects.toThrow(/its server finds it whole; check what is in between/)
})

test('bytes that do not hash to their name are refused, and nothing of them is stored', async () => {
  const { root, url } = await served()
  const answer = await fetch(`${url}/v1/blobs/${'a'.repeat(64)}`, {
    method: 'PUT',
    body: 'other bytes',
    headers: { authorization: `Bearer ${TOKEN}` },
  })
  expect(answer.status).toBe(422)
  expect(await answer.text()).toMatch(/expected bytes of SHA-256 a{64}, the 11 received have [0-9a-f]{64}/)
  expect(await readdir(join(root, 'aa'))).toEqual([])
})

test('a request without the token is refused; for a wrong token the error names the remedy', async () => {
  const { url, blobs } = await served()
  const ref = await blobs.put(LARGE, 'image/png')
  expect((await fetch(`${url}/v1/blobs/${ref.sha256}`)).status).toBe(401)
  const wrong = httpBlobs({ url, token: 'another' })
  await expect(wrong.get(ref)).rejects.toThrow(/token was refused; set PLUMBLINE_BLOBS_TOKEN/)
  await expect(wrong.put(LARGE.subarray(1), 'image/png')).rejects.toThrow(BlobsAwayError)
  const nowhere = httpBlobs({ url: 'http://127.0.0.1:1', token: TOKEN })
  await expect(nowhere.get(ref)).rejects.toThrow(BlobsAwayError)
})

test.each([
  ['bytes=0-9', 206, [0, 10]],
  ['bytes=599991-', 206, [599_991, 600_001]],
  ['bytes=-5', 206, [599_996, 600_001]],
  ['bytes=10-5', 200, [0, 600_001]],
  ['bytes=600001-', 416, undefined],
  ['lines=1-2', 200, [0, 600_001]],
] as const)('range %s is answered with %i', async (range, status, part) => {
  const { url, blobs } = await served()
  const { sha256 } = await blobs.put(LARGE, 'image/png')
  const headers = { authorization: `Bearer ${TOKEN}`, range }
  const answer = await fetch(`${url}/v1/blobs/${sha256}`, { headers })
  expect(answer.status).toBe(status)
  const body = Buffer.from(await answer.arrayBuffer())
  if (part !== undefined) expect(body).toEqual(LARGE.subarray(part[0], part[1]))
})

test('a client cannot delete unless the server allows it', async () => {
  const { blobs } = await served()
  const ref = await blobs.put(LARGE, 'image/png')
  await expect(blobs.delete(ref)).rejects.toThrow(/answered 403: .*start it with --allow-delete/)
  expect(Buffer.from(await blobs.get(ref))).toEqual(LARGE)
})

test('a list of more than one answer is complete', async () => {
  const { root, blobs } = await served()
  const here = directoryBlobs(root, { flush: false })
  const puts = Array.from({ length: 1_005 }, (_, at) => here.put(Buffer.from(`${at}`), 'text/plain'))
  const expected = (await Promise.all(puts)).map(({ sha256 }) => sha256).sort()
  expect(await listed(blobs)).toEqual(expected)
})

test('an endless answer takes a bounded amount of memory, as a blob and as an error', async () => {
  let status = 200
  const server = createHttpServer((_, answer) => {
    answer.writeHead(status, { 'plumbline-blobs': '1' })
    const more = () => {
      while (!answer.destroyed && answer.write(Buffer.alloc(65_536, 'x')));
    }
    answer.on('drain', more)
    more()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const blobs = httpBlobs({ url, token: TOKEN, max_bytes: 1_000_000 })
  const ref = { sha256: 'e'.repeat(64), bytes: 10, media_type: 'image/png' }
  await expect(blobs.get(ref)).rejects.toThrow('more than 1000000 bytes arrive')
  status = 500
  await expect(blobs.get(ref)).rejects.toThrow(/answered 500: x{200}$/)
})
