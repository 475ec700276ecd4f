import { createHash } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { BlobRef } from '../../schemas/logical-types.ts'
import { BlobCorruptError, BlobMissingError, type Blobs } from './blobs.ts'

export interface HttpBlobsOptions {
  /** Of a `plumbline blobs serve`, e.g. http://10.0.0.5:8790 */
  readonly url: string
  readonly token: string
  /** How long nothing may come before a transfer counts as broken off. */
  readonly stall_ms?: number
  /** How often a transfer that broke off is gone on with. */
  readonly tries?: number
}

/** The server says no, or is not there: nothing about a blob. Waiting may mend it. */
export class BlobServerError extends Error {
  override readonly name = 'BlobServerError'
}

/**
 * Blobs of another host, over HTTP. A download that breaks off goes on where it stopped; whatever arrives must hash to
 * its name before anybody sees it.
 */
export function httpBlobs({ url, token, stall_ms = 30_000, tries = 5 }: HttpBlobsOptions): Blobs {
  const base = url.replace(/\/+$/, '')
  const addressOf = (sha256: string) => `${base}/v1/blobs/${sha256}`

  async function ask(method: string, sha256: string, more: RequestInit = {}): Promise<Response> {
    const init = { ...more, method, headers: { ...more.headers, authorization: `Bearer ${token}` } }
    // Every request may be said twice. A kept connection that was closed meanwhile says nothing about the server.
    const attempt = async (left: number): Promise<Response> =>
      fetch(addressOf(sha256), init).catch(async (error: unknown) => {
        if (left <= 1 || !wasClosed(error)) throw new BlobServerError(`${base}: ${reasonOf(error)}`, { cause: error })
        await wait(50)
        return attempt(left - 1)
      })
    const answer = await attempt(tries)
    if (answer.status === 401) {
      await answer.body?.cancel()
      throw new BlobServerError(`${base}: the token was refused; set PLUMBLINE_BLOBS_TOKEN to that of \`blobs serve\``)
    }
    return answer
  }

  /** Appends what comes to `got`. @returns whether all of it has come */
  async function download(ref: BlobRef, got: Buffer[]): Promise<boolean> {
    const have = got.reduce((sum, chunk) => sum + chunk.byteLength, 0)
    const stall = new AbortController()
    let timer = setTimeout(() => stall.abort(), stall_ms)
    try {
      const range: Record<string, string> = have > 0 ? { range: `bytes=${have}-` } : {}
      const answer = await ask('GET', ref.sha256, { headers: range, signal: stall.signal })
      if (answer.status === 404) {
        await answer.body?.cancel()
        throw new BlobMissingError(`blob ${ref.sha256} (${ref.media_type}, ${ref.bytes} bytes) is not at ${base}`)
      }
      if (answer.status !== 200 && answer.status !== 206) throw await refused(answer)
      if (answer.status === 200) got.length = 0
      for await (const chunk of answer.body ?? []) {
        clearTimeout(timer)
        timer = setTimeout(() => stall.abort(), stall_ms)
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

  async function refused(answer: Response): Promise<BlobServerError> {
    const said = await answer.text().catch(() => '')
    return new BlobServerError(`${base}: answered ${answer.status}: ${said.trim().slice(0, 200)}`)
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
      if (await this.has(ref)) return ref
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
        // Wrong on the way, perhaps: once more from the beginning.
        got.length = 0
      }
      if (actual === '')
        throw new BlobServerError(`${base}: blob ${ref.sha256} broke off on the way, in ${tries} tries`)
      throw new BlobCorruptError(
        `blob ${ref.sha256} of ${base}: expected that SHA-256, what arrives has ${actual}; restore the file there from a copy`,
      )
    },
  }
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
