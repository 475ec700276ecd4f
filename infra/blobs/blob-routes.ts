import type { HttpBindings } from '@hono/node-server'
import type { Context } from 'hono'
import { rangeOf } from '../http/byte-range.ts'
import { RefusedError } from '../http/http-server.ts'
import { STALLED_MS, sendStream } from '../http/send-stream.ts'
import { BlobCorruptError, BlobMissingError } from './blobs.ts'
import { CHECK, DAMAGED, SERVER_HEADER } from './http.ts'
import type { OpenedBlob, ServedBlobs } from './served.ts'

/** Of every path of a blob. */
export const SHA256 = /^[0-9a-f]{64}$/

/**
 * Answers `GET` and `HEAD` of a blob: one byte range, if asked. `?check` hashes the blob first.
 *
 * @throws RefusedError 404 when the store was reached and lacks it, 416 for a range outside of it, 422 when other bytes
 * are stored; an error with `retry: 'later'` when the store cannot be reached
 */
export async function giveBlob(context: Context, sha256: string, blobs: ServedBlobs): Promise<Response> {
  // A new, empty store answers HEAD with 404 and not 503, so that a client then puts the blob.
  if (context.req.method === 'HEAD' && !(await stored(blobs.has(sha256)))) {
    throw new RefusedError(404, `no blob ${sha256} here`)
  }
  if (context.req.query(CHECK) !== undefined) await stored(blobs.check(sha256))
  const blob = await stored(blobs.open(sha256))
  return await give(context, sha256, blob).finally(() => blob.close())
}

async function give(context: Context, sha256: string, blob: OpenedBlob): Promise<Response> {
  const { size } = blob
  const range = rangeOf(context.req.header('range'), size)
  if (range === 'beyond') {
    context.header('content-range', `bytes */${size}`)
    throw new RefusedError(416, `expected a range within ${size} bytes`)
  }
  const { from, to } = range ?? { from: 0, to: size - 1 }
  const headers = {
    [SERVER_HEADER]: '1',
    'accept-ranges': 'bytes',
    etag: `"${sha256}"`,
    'content-type': 'application/octet-stream',
    'x-content-type-options': 'nosniff',
    'content-length': to - from + 1,
    ...(range === undefined ? {} : { 'content-range': `bytes ${from}-${to}/${size}` }),
  }
  const bytes = size === 0 ? nothing() : blob.bytes({ from, to: to + 1 })
  return await sendStream(context, { status: range === undefined ? 200 : 206, headers, bytes })
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

/**
 * Stores the body of a `PUT`, which must hash to `sha256`. It is on disk when 201 is answered. Nothing of another body
 * is stored, nor of one that stalls.
 *
 * @throws RefusedError 413 when it is longer than `max_bytes`, 422 when it has another hash
 */
export async function takeBlob(
  context: Context,
  sha256: string,
  { blobs, max_bytes }: { readonly blobs: Pick<ServedBlobs, 'putStream'>; readonly max_bytes: number },
): Promise<Response> {
  const named = context.req.header('content-length')
  const expected = named === undefined ? max_bytes : Number(named)
  const tooLarge = () => {
    // The rest of the body is not read.
    context.header('connection', 'close')
    return new RefusedError(413, `expected at most ${max_bytes} bytes`)
  }
  if (expected > max_bytes) throw tooLarge()
  let size = 0
  const bounded = async function* () {
    for await (const chunk of (context.req.raw.body ?? []) as AsyncIterable<Uint8Array>) {
      size += chunk.byteLength
      if (size > max_bytes) throw tooLarge()
      yield chunk
    }
  }
  const { incoming } = context.env as Partial<HttpBindings>
  incoming?.setTimeout(STALLED_MS, () => incoming.destroy())
  const media_type = context.req.header('content-type') ?? 'application/octet-stream'
  // Only the hash counts: a client need not name the length.
  const ref = { sha256, bytes: expected, media_type }
  try {
    await blobs.putStream(ref, bounded)
  } catch (error) {
    context.header('connection', 'close')
    if (error instanceof BlobCorruptError) throw new RefusedError(DAMAGED, error.message)
    throw error
  }
  return context.body(null, 201)
}

/** Maps errors of a blob to a status: 404 if the store lacks it, 422 if other bytes are stored. */
async function stored<T>(looked: Promise<T>): Promise<T> {
  try {
    return await looked
  } catch (error) {
    if (error instanceof BlobMissingError) throw new RefusedError(404, error.message)
    if (error instanceof BlobCorruptError) throw new RefusedError(DAMAGED, error.message)
    throw error
  }
}
