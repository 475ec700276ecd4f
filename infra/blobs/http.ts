import { createHash } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { BlobRef } from '../../schemas/logical-types.ts'
import { BlobCorruptError, BlobMissingError, type Blobs, BlobsAwayError, named } from './blobs.ts'

export interface HttpBlobsOptions {
  /** Address of a `plumbline blobs serve`, e.g. http://10.0.0.5:8790 */
  readonly url: string
  readonly token: string
  /** Time without any data after which a transfer counts as broken. */
  readonly stall_ms?: number
  /** Attempts for a request or a download; a download resumes where the last attempt stopped. */
  readonly tries?: number
  readonly max_bytes?: number
}

/** Largest blob that a server accepts, and that a client accepts from a server. */
export const MAX_BLOB_BYTES = 1024 * 1024 * 1024

/** In every answer of a blob server: a proxy that answers in its place does not send it. */
export const SERVER_HEADER = 'plumbline-blobs'

/** With this query a server hashes the blob before it answers: `DAMAGED` when other bytes are stored. */
export const CHECK = 'check'
export const DAMAGED = 422

/** The server refuses, cannot be reached, or something else answers in its place: the blob may exist. */
export class BlobServerError extends BlobsAwayError {
  override readonly name = 'BlobServerError'
}

/**
 * Blobs of another host, over HTTP. A broken download resumes where it stopped. Its bytes must match the SHA-256 before
 * they are returned.
 */
export function httpBlobs(options: HttpBlobsOptions): Blobs {
  const { url, token, stall_ms = 30_000, tries = 5, max_bytes = MAX_BLOB_BYTES } = options
  const base = url.replace(/\/+$/, '')

  /** @param what the SHA-256 of a blob, and a query */
  async function ask(method: string, what: string, more: RequestInit = {}): Promise<Response> {
    const init = { ...more, method, headers: { ...more.headers, authorization: `Bearer ${token}` } }
    // Every request is idempotent and can be retried. A closed keep-alive connection does not mean a failed server.
    const attempt = async (left: number): Promise<Response> =>
      fetch(`${base}/v1/blobs/${what}`, init).catch(async (error: unknown) => {
        if (left <= 1 || !wasClosed(error)) throw new BlobServerError(`${base}: ${reasonOf(error)}`, { cause: error })
        await wait(50)
        return attempt(left - 1)
      })
    const answer = await attempt(tries)
    if (answer.status === 401) {
      await answer.body?.cancel()
      throw new BlobServerError(`${base}: the token was refused; set PLUMBLINE_BLOBS_TOKEN to that of \`blobs serve\``)
    }
    if (!answer.headers.has(SERVER_HEADER)) {
      throw await refused(answer, `without the header ${SERVER_HEADER}, so no blob server of this release sent it`)
    }
    return answer
  }

  /** Appends what arrives to `got`. @returns whether all of it has arrived */
  async function download(ref: BlobRef, got: Buffer[]): Promise<boolean> {
    let have = got.reduce((sum, chunk) => sum + chunk.byteLength, 0)
    const stall = new AbortController()
    let timer = setTimeout(() => stall.abort(), stall_ms)
    try {
      const range: Record<string, string> = have > 0 ? { range: `bytes=${have}-` } : {}
      const answer = await ask('GET', ref.sha256, { headers: range, signal: stall.signal })
      if (answer.status === 404) {
        await answer.body?.cancel()
        throw new BlobMissingError(`${named(ref)} is not at ${base}`)
      }
      if (answer.status !== 200 && answer.status !== 206) throw await refused(answer)
      if (answer.status === 200) have = got.length = 0
      for await (const chunk of answer.body ?? []) {
        clearTimeout(timer)
        timer = setTimeout(() => stall.abort(), stall_ms)
        have += (chunk as Uint8Array).byteLength
        if (have > max_bytes) throw new BlobServerError(`${base}: ${named(ref)}: more than ${max_bytes} bytes arrive`)
        got.push(Buffer.from(chunk as Uint8Array))
      }
      return true
    } catch (error) {
      if (error instanceof BlobMissingError || error instanceof BlobServerError) throw error
      return false
    } finally {
      clearTimeout(timer)
    }
  }

  async function refused(answer: Response, why?: string): Promise<BlobServerError> {
    const text = await beginningOf(answer)
    return new BlobServerError(`${base}: answered ${answer.status}${why === undefined ? '' : ` ${why}`}: ${text}`)
  }

  return {
    async has(ref) {
      const answer = await ask('HEAD', ref.sha256, { signal: AbortSignal.timeout(stall_ms) })
      if (answer.status === 404) return false
      if (answer.status === 200) return true
      throw await refused(answer)
    },

    async put(bytes, media_type) {
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      const ref = { sha256, bytes: bytes.byteLength, media_type }
      // If the server's copy is damaged, this put repairs it.
      const stored = await ask('HEAD', `${sha256}?${CHECK}`, { signal: AbortSignal.timeout(stall_ms) })
      if (stored.status === 200) return ref
      if (stored.status !== 404 && stored.status !== DAMAGED) throw await refused(stored)
      const body = Buffer.from(bytes)
      const headers = { 'content-type': media_type }
      const answer = await ask('PUT', sha256, {
        body,
        headers,
        signal: AbortSignal.timeout(stall_ms + Math.ceil(body.length / 100)),
      })
      if (answer.status !== 201) throw await refused(answer)
      await answer.body?.cancel()
      return ref
    },

    async get(ref) {
      const got: Buffer[] = []
      let actual = ''
      for (let attempt = 0; attempt < tries; attempt++) {
        if (attempt > 0) await wait(50 * 2 ** attempt)
        if (!(await download(ref, got))) continue
        const bytes = Buffer.concat(got)
        actual = createHash('sha256').update(bytes).digest('hex')
        if (actual === ref.sha256) return bytes
        // The bytes may have been damaged in transit: start again from the beginning.
        got.length = 0
      }
      if (actual === '')
        throw new BlobServerError(`${base}: blob ${ref.sha256} broke off on the way, in ${tries} tries`)
      const wrong = `blob ${ref.sha256} of ${base}: expected that SHA-256, what arrives has ${actual}`
      // A proxy may change bytes too: only the server can tell whether its stored bytes are wrong.
      const checked = await ask('HEAD', `${ref.sha256}?${CHECK}`, { signal: AbortSignal.timeout(stall_ms) })
      if (checked.status === DAMAGED) throw new BlobCorruptError(`${wrong}; restore the file there from a copy`)
      throw new BlobServerError(`${wrong}, and its server finds it whole; look at what lies between (a proxy?)`)
    },
  }
}

/** The first 200 characters, for a message: what answers in a server's place may send without end. */
async function beginningOf({ body }: Response): Promise<string> {
  const got: Uint8Array[] = []
  let bytes = 0
  try {
    for await (const chunk of body ?? []) {
      got.push(chunk as Uint8Array)
      bytes += (chunk as Uint8Array).byteLength
      if (bytes >= 1000) break
    }
  } catch {
    // What arrived before the connection broke is enough.
  }
  return Buffer.concat(got).toString().trim().slice(0, 200)
}

const codeOf = (error: unknown) => (error as { cause?: NodeJS.ErrnoException }).cause?.code ?? ''
const wasClosed = (error: unknown) => ['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'].includes(codeOf(error))

function reasonOf(error: unknown): string {
  const { name, cause, message } = error as Error & { cause?: Error }
  if (name === 'TimeoutError' || name === 'AbortError') return 'did not answer in time'
  const known: Record<string, string> = {
    ECONNREFUSED: 'nothing listens there; is `plumbline blobs serve` up?',
    ENOTFOUND: 'no such host; look at --blobs',
    EAI_AGAIN: 'the name cannot be looked up now',
  }
  if (wasClosed(error)) return 'the connection was closed before an answer came'
  return known[codeOf(error)] ?? cause?.message ?? message
}
