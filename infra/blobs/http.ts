import { setTimeout as wait } from 'node:timers/promises'
import type { BlobRef } from '../../schemas/declare/logical-types.ts'
import {
  type BlobCall,
  BlobCorruptError,
  BlobMissingError,
  type BlobStore,
  BlobsAwayError,
  MAX_BLOB_BYTES,
  named,
  type StoredBlob,
} from './blobs.ts'
import { anyOf, type Remote } from './download.ts'
import { awayBecause, type Body, beginningOf, wasClosed } from './request.ts'
import { transfersOf } from './transfers.ts'

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

/** In every answer of a blob server: a proxy that answers in its place does not send it. */
export const SERVER_HEADER = 'plumbline-blobs'

/** With this query a server hashes the blob before it answers: `DAMAGED` when other bytes are stored. */
export const CHECK = 'check'
export const DAMAGED = 422

/** Larger blobs are sent only if the server lacks them. Smaller ones cost less than asking. */
const LOOK_FIRST_OVER_BYTES = 256 * 1024

/**
 * Blobs of another host, over HTTP. A broken download resumes where it stopped. Its bytes must match the SHA-256 before
 * they are returned.
 */
export function httpBlobs(options: HttpBlobsOptions): BlobStore {
  const { url, token, stall_ms = 30_000, tries = 5, max_bytes = MAX_BLOB_BYTES } = options
  const base = url.replace(/\/+$/, '')

  /** @param what the SHA-256 of a blob, and a query */
  async function ask(method: string, what: string, call: BlobCall, more: Sent = {}): Promise<Response> {
    const { body, timeout_ms = stall_ms, headers, signal } = more
    // Every request is idempotent and can be retried. A closed keep-alive connection does not mean a failed server.
    const attempt = async (left: number): Promise<Response> => {
      const init: RequestInit = {
        method,
        headers: { ...headers, authorization: `Bearer ${token}` },
        signal: signal ?? anyOf(AbortSignal.timeout(timeout_ms), call.signal),
        ...(body === undefined ? {} : { body: body(), duplex: 'half' }),
      }
      return fetch(`${base}/v1/blobs${what}`, init).catch(async (error: unknown) => {
        call.signal?.throwIfAborted()
        if (left <= 1 || !wasClosed(error)) throw awayBecause(base, error, 'is `plumbline blobs serve` up?')
        await wait(50)
        return attempt(left - 1)
      })
    }
    const answer = await attempt(tries)
    if (answer.status === 401) {
      await answer.body?.cancel()
      throw new BlobsAwayError(`${base}: the token was refused; set PLUMBLINE_BLOBS_TOKEN to that of \`blobs serve\``)
    }
    if (!answer.headers.has(SERVER_HEADER)) {
      throw await refused(answer, `without the header ${SERVER_HEADER}, so no blob server of this release sent it`)
    }
    return answer
  }

  async function refused(answer: Response, why?: string): Promise<BlobsAwayError> {
    const text = await beginningOf(answer)
    return new BlobsAwayError(`${base}: answered ${answer.status}${why === undefined ? '' : ` ${why}`}: ${text}`)
  }

  const remote: Remote = {
    at: base,
    stall_ms,
    tries,
    max_bytes,
    async open(ref, range, signal) {
      const headers: Record<string, string> = range === undefined ? {} : { range }
      const answer = await ask('GET', `/${ref.sha256}`, {}, { headers, signal })
      if (answer.status === 404) {
        await answer.body?.cancel()
        throw new BlobMissingError(`${named(ref)} is not at ${base}`)
      }
      if (answer.status === 416) {
        await answer.body?.cancel()
        throw new BlobCorruptError(`${named(ref)} at ${base} has fewer bytes; restore the file there from a copy`)
      }
      if (answer.status !== 200 && answer.status !== 206) throw await refused(answer)
      return answer
    },
    async isDamaged(ref, _, call) {
      const checked = await ask('HEAD', `/${ref.sha256}?${CHECK}`, call)
      return checked.status === DAMAGED
    },
  }

  async function store(ref: BlobRef, body: () => Body, call: BlobCall): Promise<void> {
    if (ref.bytes > LOOK_FIRST_OVER_BYTES) {
      // If the server's copy is damaged, this put repairs it.
      const stored = await ask('HEAD', `/${ref.sha256}?${CHECK}`, call)
      if (stored.status === 200) return
      if (stored.status !== 404 && stored.status !== DAMAGED) throw await refused(stored)
    }
    const headers = { 'content-type': ref.media_type, 'content-length': String(ref.bytes) }
    const timeout_ms = stall_ms + Math.ceil(ref.bytes / 100)
    const answer = await ask('PUT', `/${ref.sha256}`, call, { body, headers, timeout_ms })
    if (answer.status !== 201) throw await refused(answer)
    await answer.body?.cancel()
  }

  return {
    async has(ref, call = {}) {
      const answer = await ask('HEAD', `/${ref.sha256}`, call)
      if (answer.status === 404) return false
      if (answer.status === 200) return true
      throw await refused(answer)
    },

    ...transfersOf(remote, store),

    async *list({ after = '', ...call } = {}) {
      for (let last = after; ; ) {
        const answer = await ask('GET', `?after=${last}`, call)
        if (answer.status !== 200) throw await refused(answer)
        const page = await answer.json().catch((error: unknown) => {
          call.signal?.throwIfAborted()
          throw awayBecause(base, error, '')
        })
        const { blobs } = page as { readonly blobs: readonly StoredBlob[] }
        yield* blobs
        const end = blobs.at(-1)
        if (end === undefined) return
        last = end.sha256
      }
    },

    async delete(ref, call = {}) {
      const answer = await ask('DELETE', `/${ref.sha256}`, call)
      if (answer.status !== 204) throw await refused(answer)
    },
  }
}

interface Sent {
  readonly headers?: Record<string, string>
  /** The body, created again for each attempt. */
  readonly body?: () => Body
  readonly timeout_ms?: number
  /** Replaces the time-out and the signal of the call. */
  readonly signal?: AbortSignal
}
