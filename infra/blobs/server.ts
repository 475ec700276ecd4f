import { createHash, timingSafeEqual } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import type { HttpBindings } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { type Context, Hono } from 'hono'
import { plainText, RefusedError, serveHttp } from '../http/http-server.ts'
import type { Listening } from '../http/listen.ts'
import { BlobCorruptError, BlobMissingError, type BlobStore, MAX_BLOB_BYTES, type StoredBlob } from './blobs.ts'
import { directoryBlobs, openBlob } from './directory.ts'
import { CHECK, DAMAGED, SERVER_HEADER } from './http.ts'

export interface BlobServerOptions {
  /** The folder of `directoryBlobs`. */
  readonly root: string
  /** As in `directoryBlobs`. */
  readonly made?: string
  readonly host: string
  readonly port: number
  /** Every request must send it as a bearer token. */
  readonly token: string
  /** Largest blob that is accepted. */
  readonly max_bytes?: number
  /** Whether a client may delete blobs. Without it, one who has the token can add blobs and destroy none. */
  readonly allow_delete?: boolean
}

const BLOBS = '/v1/blobs'
const BLOB = `${BLOBS}/:sha256{[0-9a-f]{64}}`

/** The most blobs in one answer to a list. */
const LISTED_AT_ONCE = 1_000

/** Each stage of each host opens up to 32 (`put-all.ts`). */
const MAX_CONNECTIONS = 1_024

/** Enough for one blob of the largest size over a slow network. */
const REQUEST_TIMEOUT_MS = 3_600_000

/**
 * Serves the blobs of a folder: `GET`, `HEAD` (one byte range, if asked) and `PUT /v1/blobs/SHA256`. The body of a put
 * must hash to its name, and is on disk when 201 is answered. 404 means that the store was reached and lacks the blob;
 * 503, that it cannot be reached. `?check` hashes the blob: 422 when other bytes are stored. `GET /v1/blobs?after=SHA256`
 * lists by ascending SHA-256, until an answer is empty; `DELETE /v1/blobs/SHA256`, if allowed, answers 204.
 *
 * @throws Error when the address cannot be listened on
 */
export async function serveBlobs(options: BlobServerOptions): Promise<Listening> {
  const { root, made, token, max_bytes = MAX_BLOB_BYTES, allow_delete = false } = options
  const blobs = directoryBlobs(root, made === undefined ? {} : { made })
  const app = new Hono<{ Bindings: HttpBindings }>()
  app.use(async (context, next) => {
    context.header(SERVER_HEADER, '1')
    if (mayAsk(context.req.header('authorization'), token)) return await next()
    context.header('www-authenticate', 'Bearer')
    return plainText(context, 401, 'expected the token of this server as a bearer token')
  })
  app.get(BLOB, async (context) => {
    const sha256 = context.req.param('sha256')
    const ref = { sha256, bytes: 0, media_type: 'any' }
    // A new, empty store answers HEAD with 404 and not 503, so that a client then puts the blob.
    if (context.req.method === 'HEAD' && !(await blobs.has(ref))) throw new RefusedError(404, `no blob ${sha256} here`)
    if (context.req.query(CHECK) !== undefined) await onDisk(blobs.get(ref))
    // If the file is absent, `get` tells why: 404 or 503.
    const file = (await onDisk(openBlob(root, sha256))) ?? (await onDisk(blobs.get(ref).then(() => undefined)))
    if (file === undefined) throw new RefusedError(503, `blob ${sha256} appeared just now; ask again`)
    return await give(context, sha256, file).finally(() => file.close())
  })
  app.put(BLOB, (context) => take(context, context.req.param('sha256'), max_bytes, blobs))
  app.delete(BLOB, async (context) => {
    if (!allow_delete) throw new RefusedError(403, 'this server deletes nothing; start it with --allow-delete')
    await blobs.delete({ sha256: context.req.param('sha256'), bytes: 0, media_type: 'any' })
    return context.body(null, 204)
  })
  app.get(BLOBS, async (context) => {
    const listed: StoredBlob[] = []
    for await (const blob of blobs.list({ after: context.req.query('after') ?? '' })) {
      if (listed.push(blob) === LISTED_AT_ONCE) break
    }
    return context.json({ blobs: listed })
  })
  app.all(BLOB, (context) => {
    context.header('allow', 'GET, HEAD, PUT, DELETE')
    return plainText(context, 405, 'expected GET, HEAD, PUT or DELETE')
  })
  app.notFound((context) => plainText(context, 404, 'expected /v1/blobs/ and the SHA-256 of a blob in hexadecimal'))
  return await serveHttp(app, {
    ...options,
    request_timeout_ms: REQUEST_TIMEOUT_MS,
    max_connections: MAX_CONNECTIONS,
  })
}

/** Maps errors of a blob to a status: 404 if the store lacks it, 422 if other bytes are stored. */
async function onDisk<T>(looked: Promise<T>): Promise<T> {
  try {
    return await looked
  } catch (error) {
    if (error instanceof BlobMissingError) throw new RefusedError(404, error.message)
    if (error instanceof BlobCorruptError) throw new RefusedError(DAMAGED, error.message)
    throw error
  }
}

/** Compares hashes, so that timing reveals neither the token's length nor its first wrong character. */
function mayAsk(authorization: string | undefined, token: string): boolean {
  const [, shown = ''] = /^Bearer (.+)$/.exec(authorization ?? '') ?? []
  const hash = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(hash(shown), hash(token))
}

async function give(context: Context<{ Bindings: HttpBindings }>, sha256: string, file: FileHandle): Promise<Response> {
  const { size } = await file.stat()
  const range = rangeOf(context.req.header('range'), size)
  if (range === 'beyond') {
    context.header('content-range', `bytes */${size}`)
    return plainText(context, 416, `expected a range within ${size} bytes`)
  }
  const { from, to } = range ?? { from: 0, to: size - 1 }
  const headers = {
    [SERVER_HEADER]: '1',
    'accept-ranges': 'bytes',
    etag: `"${sha256}"`,
    'content-type': 'application/octet-stream',
    'content-length': to - from + 1,
    ...(range === undefined ? {} : { 'content-range': `bytes ${from}-${to}/${size}` }),
  }
  // Written by hand: a file that cannot be read to its end must break the connection, not end the body with a message.
  const { outgoing } = context.env
  outgoing.writeHead(range === undefined ? 200 : 206, headers)
  if (context.req.method === 'HEAD' || size === 0) outgoing.end()
  else {
    const bytes = file.createReadStream({ start: from, end: to, autoClose: false })
    await pipeline(bytes, outgoing).catch(() => outgoing.destroy())
  }
  return RESPONSE_ALREADY_SENT
}

/** RFC 9110 §14: one range. A header that is not one is ignored, as the RFC allows. */
function rangeOf(header: string | undefined, size: number): { from: number; to: number } | 'beyond' | undefined {
  const [, first, last] = /^bytes=(\d*)-(\d*)$/.exec(header ?? '') ?? []
  if (first === undefined || last === undefined || (first === '' && last === '')) return undefined
  const from = first === '' ? Math.max(0, size - Number(last)) : Number(first)
  const to = first === '' || last === '' ? size - 1 : Math.min(Number(last), size - 1)
  if (first !== '' && last !== '' && Number(last) < from) return undefined
  return from >= size ? 'beyond' : { from, to }
}

async function take(context: Context, sha256: string, max_bytes: number, blobs: BlobStore): Promise<Response> {
  let size = 0
  const bounded = async function* () {
    for await (const chunk of (context.req.raw.body ?? []) as AsyncIterable<Uint8Array>) {
      size += chunk.byteLength
      if (size > max_bytes) throw new RefusedError(413, `expected at most ${max_bytes} bytes`)
      yield chunk
    }
  }
  const media_type = context.req.header('content-type') ?? 'application/octet-stream'
  // Only the hash counts: a client need not name the length.
  const ref = { sha256, bytes: max_bytes, media_type }
  try {
    await blobs.putStream(ref, bounded)
  } catch (error) {
    // The rest of the body is not read.
    context.header('connection', 'close')
    if (error instanceof BlobCorruptError) throw new RefusedError(422, error.message)
    throw error
  }
  return context.body(null, 201)
}
