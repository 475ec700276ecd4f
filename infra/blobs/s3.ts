import { createHash } from 'node:crypto'
import type { BlobRef } from '../../schemas/declare/logical-types.ts'
import { type BlobCall, BlobCorruptError, BlobMissingError, type BlobStore, MAX_BLOB_BYTES, named } from './blobs.ts'
import { pieces, type Remote } from './download.ts'
import { collect, sha256Of } from './hashing.ts'
import { S3Client, type S3Request } from './s3-client.ts'
import type { S3Place } from './s3-options.ts'
import { transfersOf } from './transfers.ts'

export interface S3BlobsOptions extends S3Place {
  /** Time without any data after which a transfer counts as broken. */
  readonly stall_ms?: number
  /** Attempts for a request or a download. */
  readonly tries?: number
  readonly max_bytes?: number
}

/** Larger blobs are looked up before they are sent: a store may close the connection when it refuses a long body. */
const LOOK_FIRST_OVER_BYTES = 256 * 1024

/**
 * Blobs as objects `PREFIX/ab/cdef…` of a bucket, named like the files of `directoryBlobs`. A put is conditional
 * (`If-None-Match: *`), so what exists is not replaced; it carries its SHA-256, which the store checks and remembers.
 *
 * Only the error code NoSuchKey reports a blob as missing: another server's 404 does not contain it. A put counts only
 * with an ETag in the answer, a range only with its Content-Range.
 */
export function s3Blobs(options: S3BlobsOptions): BlobStore {
  const { prefix, stall_ms = 30_000, tries = 5, max_bytes = MAX_BLOB_BYTES } = options
  const client = new S3Client(options, stall_ms, tries)
  const folder = prefix === '' ? '' : `${prefix}/`
  const pathOf = ({ sha256 }: BlobRef) => `/${folder}${sha256.slice(0, 2)}/${sha256.slice(2)}`

  /** The error of an answer about a blob. */
  async function refused(answer: Response, ref: BlobRef, expected?: string): Promise<Error> {
    const { code, error } = await client.refusal(answer, expected)
    if (answer.status === 404 && code === 'NoSuchKey') {
      return new BlobMissingError(`${named(ref)} is not in ${client.at}`)
    }
    if (answer.status === 416 && code === 'InvalidRange') {
      return new BlobCorruptError(`${named(ref)} in ${client.at} has fewer bytes; restore the object from a copy`)
    }
    return error
  }

  /** What the store remembers of the object's bytes. */
  async function remembered(ref: BlobRef, call: BlobCall) {
    const headers = { 'x-amz-checksum-mode': 'ENABLED' }
    const answer = await client.ask('HEAD', pathOf(ref), call, { headers })
    const [, md5] = /^"([0-9a-f]{32})"$/.exec(answer.headers.get('etag') ?? '') ?? []
    return {
      exists: answer.status === 200,
      bytes: Number(answer.headers.get('content-length')),
      checksum: answer.headers.get('x-amz-checksum-sha256'),
      md5,
    }
  }

  /** `unsure`: something exists, and the store does not vouch for its bytes. */
  async function stateOf(ref: BlobRef, call: BlobCall): Promise<'absent' | 'whole' | 'unsure'> {
    const { exists, bytes, checksum } = await remembered(ref, call)
    if (!exists) return 'absent'
    return bytes === ref.bytes && checksum === base64Of(ref) ? 'whole' : 'unsure'
  }

  const remote: Remote = {
    at: client.at,
    stall_ms,
    tries,
    max_bytes,
    async open(ref, range, signal) {
      const headers: Record<string, string> = range === undefined ? {} : { range }
      const answer = await client.ask('GET', pathOf(ref), {}, { headers, signal })
      if (range === undefined ? answer.status !== 200 : !isPart(answer, range)) throw await refused(answer, ref)
      return answer
    },
    async isDamaged(ref, _, call) {
      const { checksum, md5 } = await remembered(ref, call)
      if (checksum !== null) return checksum !== base64Of(ref)
      // Something else may answer in the store's place: wrong bytes are those of the store if it has their MD5.
      const bytes = await collect(pieces(remote, ref, call))
      return sha256Of(bytes) !== ref.sha256 && createHash('md5').update(bytes).digest('hex') === md5
    },
  }

  async function store(ref: BlobRef, body: NonNullable<S3Request['body']>, call: BlobCall): Promise<void> {
    const headers = {
      'content-type': ref.media_type,
      'content-length': String(ref.bytes),
      'x-amz-content-sha256': ref.sha256,
      'x-amz-sdk-checksum-algorithm': 'SHA256',
      'x-amz-checksum-sha256': base64Of(ref),
    }
    const timeout_ms = stall_ms + Math.ceil(ref.bytes / 100)
    const put = (condition: Record<string, string>) =>
      client.ask('PUT', pathOf(ref), call, { headers: { ...headers, ...condition }, body, timeout_ms })
    const before = ref.bytes > LOOK_FIRST_OVER_BYTES ? await stateOf(ref, call) : 'absent'
    if (before === 'whole') return
    let answer = await put(before === 'absent' ? { 'if-none-match': '*' } : {})
    // 501: a store without conditional puts.
    if (answer.status === 412 || answer.status === 501) {
      await answer.body?.cancel()
      if (answer.status === 412 && (await stateOf(ref, call)) === 'whole') return
      answer = await put({})
    }
    if (answer.status !== 200 || !answer.headers.has('etag')) throw await refused(answer, ref, 'expected an ETag')
    await answer.body?.cancel()
  }

  return {
    async has(ref, call = {}) {
      // Not HEAD: its 404 has no code, so a missing bucket and another server would look like a missing blob.
      const headers = { range: 'bytes=0-0' }
      const answer = await client.ask('GET', pathOf(ref), call, { headers })
      if (isPart(answer, headers.range)) {
        await answer.body?.cancel()
        return true
      }
      const error = await refused(answer, ref)
      // An empty object has no first byte.
      if (error instanceof BlobCorruptError) return true
      if (error instanceof BlobMissingError) return false
      throw error
    },

    ...transfersOf(remote, store),

    async *list({ after = '', ...call } = {}) {
      let last = after && `${folder}${after.slice(0, 2)}/${after.slice(2)}`
      for (let more = true; more; ) {
        const query = new URLSearchParams({ 'list-type': '2', prefix: folder, 'start-after': last })
        const answer = await client.ask('GET', `?${query}`, call)
        if (answer.status !== 200) throw (await client.refusal(answer)).error
        const page = await answer.text().catch(() => '')
        call.signal?.throwIfAborted()
        const truncated = /<IsTruncated>(true|false)<\/IsTruncated>/.exec(page)
        if (truncated === null) throw (await client.refusal(new Response(page), 'expected a list of objects')).error
        more = truncated[1] === 'true'
        for (const [, key = '', bytes] of page.matchAll(/<Key>([^<]*)<\/Key>.*?<Size>(\d+)<\/Size>/gs)) {
          const [, shard, rest] = /^([0-9a-f]{2})\/([0-9a-f]{62})$/.exec(key.slice(folder.length)) ?? []
          if (shard !== undefined) yield { sha256: `${shard}${rest}`, bytes: Number(bytes) }
          last = key
        }
      }
    },

    async delete(ref, call = {}) {
      const answer = await client.ask('DELETE', pathOf(ref), call)
      if (answer.status !== 204) throw (await client.refusal(answer)).error
    },
  }
}

const base64Of = ({ sha256 }: BlobRef) => Buffer.from(sha256, 'hex').toString('base64')

/** Whether an answer is the part of an object that was asked for. */
function isPart({ status, headers }: Response, range: string): boolean {
  const [, from] = /^bytes=(\d+)-/.exec(range) ?? []
  return status === 206 && headers.get('content-range')?.startsWith(`bytes ${from}-`) === true
}
