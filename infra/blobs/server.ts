import { createHash, timingSafeEqual } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { type Listening, listen } from '../http/listen.ts'
import { blobFile, directoryBlobs } from './directory.ts'

export interface BlobServerOptions {
  /** The folder of `directoryBlobs`. */
  readonly root: string
  readonly host: string
  readonly port: number
  /** Whoever asks must show it. */
  readonly token: string
  /** Largest blob that is taken. */
  readonly max_bytes?: number
}

const BLOB = /^\/v1\/blobs\/([0-9a-f]{64})$/
const MAX_BYTES = 1024 * 1024 * 1024

/**
 * Hands out and takes in the blobs of a folder: `GET`, `HEAD` (one byte range, if asked) and `PUT /v1/blobs/SHA256`.
 * What is put must hash to its name, and is on disk when 201 is answered.
 *
 * @throws Error when the address cannot be listened on
 */
export async function serveBlobs(options: BlobServerOptions): Promise<Listening> {
  const server = createServer((request, response) => {
    handle(request, response, options).catch((error: unknown) => {
      if (response.headersSent) response.destroy()
      else refuse(response, 500, error instanceof Error ? error.message : String(error))
    })
  })
  return await listen(server, options)
}

async function handle(request: IncomingMessage, response: ServerResponse, options: BlobServerOptions): Promise<void> {
  const { pathname } = new URL(request.url ?? '/', 'http://localhost')
  if (!mayAsk(request, options.token)) {
    response.setHeader('www-authenticate', 'Bearer')
    return refuse(response, 401, 'expected the token of this server as a bearer token')
  }
  const [, sha256] = BLOB.exec(pathname) ?? []
  if (sha256 === undefined) return refuse(response, 404, 'expected /v1/blobs/ and the SHA-256 of a blob in hexadecimal')
  if (request.method === 'PUT') return take(request, response, sha256, options)
  if (request.method === 'GET' || request.method === 'HEAD') return give(request, response, sha256, options.root)
  response.setHeader('allow', 'GET, HEAD, PUT')
  return refuse(response, 405, 'expected GET, HEAD or PUT')
}

/** Compared by hash: neither the length nor the first wrong letter of the token can be timed. */
function mayAsk(request: IncomingMessage, token: string): boolean {
  const [, shown = ''] = /^Bearer (.+)$/.exec(request.headers.authorization ?? '') ?? []
  const hash = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(hash(shown), hash(token))
}

async function give(request: IncomingMessage, response: ServerResponse, sha256: string, root: string): Promise<void> {
  const file = blobFile(root, sha256)
  const size = await stat(file).then(
    (found) => found.size,
    () => undefined,
  )
  if (size === undefined) return refuse(response, 404, `no blob ${sha256} here`)
  response.setHeader('accept-ranges', 'bytes')
  response.setHeader('etag', `"${sha256}"`)
  response.setHeader('content-type', 'application/octet-stream')
  const range = rangeOf(request.headers.range, size)
  if (range === 'beyond') {
    response.setHeader('content-range', `bytes */${size}`)
    return refuse(response, 416, `expected a range within ${size} bytes`)
  }
  const { from, to } = range ?? { from: 0, to: size - 1 }
  if (range !== undefined) response.setHeader('content-range', `bytes ${from}-${to}/${size}`)
  response.writeHead(range === undefined ? 200 : 206, { 'content-length': to - from + 1 })
  if (request.method === 'HEAD' || size === 0) return void response.end()
  await pipeline(createReadStream(file, { start: from, end: to }), response).catch(() => response.destroy())
}

/** RFC 9110 §14: one range; what is none is passed over, as it says. */
function rangeOf(header: string | undefined, size: number): { from: number; to: number } | 'beyond' | undefined {
  const [, first, last] = /^bytes=(\d*)-(\d*)$/.exec(header ?? '') ?? []
  if (first === undefined || last === undefined || (first === '' && last === '')) return undefined
  const from = first === '' ? Math.max(0, size - Number(last)) : Number(first)
  const to = first === '' || last === '' ? size - 1 : Math.min(Number(last), size - 1)
  if (first !== '' && last !== '' && Number(last) < from) return undefined
  return from >= size ? 'beyond' : { from, to }
}

async function take(
  request: IncomingMessage,
  response: ServerResponse,
  sha256: string,
  { root, max_bytes = MAX_BYTES }: BlobServerOptions,
): Promise<void> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.byteLength
    if (size > max_bytes) {
      response.setHeader('connection', 'close')
      return refuse(response, 413, `expected at most ${max_bytes} bytes`)
    }
    chunks.push(chunk)
  }
  const bytes = Buffer.concat(chunks)
  const actual = createHash('sha256').update(bytes).digest('hex')
  if (actual !== sha256)
    return refuse(response, 422, `expected bytes of SHA-256 ${sha256}, those that came have ${actual}`)
  await directoryBlobs(root).put(bytes, request.headers['content-type'] ?? 'application/octet-stream')
  response.writeHead(201, { 'content-length': 0 }).end()
}

function refuse(response: ServerResponse, status: number, why: string): void {
  const text = `${why}\n`
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'content-length': Buffer.byteLength(text) })
  response.end(text)
}
