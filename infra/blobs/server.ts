import { createHash, timingSafeEqual } from 'node:crypto'
import type { HttpBindings } from '@hono/node-server'
import { Hono } from 'hono'
import { bearerOf } from '../http/bearer.ts'
import { plainText, RefusedError, serveHttp } from '../http/http-server.ts'
import type { Listening } from '../http/listen.ts'
import { giveBlob, takeBlob } from './blob-routes.ts'
import { MAX_BLOB_BYTES, type StoredBlob } from './blobs.ts'
import { directoryBlobs } from './directory.ts'
import { SERVER_HEADER } from './http.ts'
import { servedDirectory } from './served.ts'

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
  const served = servedDirectory(root, made)
  const app = new Hono<{ Bindings: HttpBindings }>()
  app.use(async (context, next) => {
    context.header(SERVER_HEADER, '1')
    if (mayAsk(context.req.header('authorization'), token)) return await next()
    context.header('www-authenticate', 'Bearer')
    return plainText(context, 401, 'expected the token of this server as a bearer token')
  })
  app.get(BLOB, (context) => giveBlob(context, context.req.param('sha256'), served))
  app.put(BLOB, (context) => takeBlob(context, context.req.param('sha256'), { blobs: served, max_bytes }))
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

/** Compares hashes, so that timing reveals neither the token's length nor its first wrong character. */
function mayAsk(authorization: string | undefined, token: string): boolean {
  const hash = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(hash(bearerOf(authorization) ?? ''), hash(token))
}
