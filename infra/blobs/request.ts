import type { BlobRef } from '../../schemas/declare/logical-types.ts'
import { BlobsAwayError } from './blobs.ts'
import { checked } from './hashing.ts'

/** Requests to a blob store over HTTP, and messages for their failures. */

export type Body = NonNullable<RequestInit['body']>

/**
 * The body of a put, streamed and checked. `fetch` reports a failing source as its own failure: `failure` returns the
 * error of the source.
 */
export function bodyOf(ref: BlobRef, open: () => AsyncIterable<Uint8Array>) {
  let failed: unknown
  async function* bytes() {
    try {
      yield* checked(ref, open())
    } catch (error) {
      failed = error
      throw error
    }
  }
  return { body: () => ReadableStream.from(bytes()), failure: () => failed }
}

/** The first 200 characters, for a message: what answers in a server's place may send without end. */
export async function beginningOf({ body }: Response, characters = 200): Promise<string> {
  const got: Uint8Array[] = []
  let bytes = 0
  try {
    for await (const chunk of body ?? []) {
      got.push(chunk as Uint8Array)
      bytes += (chunk as Uint8Array).byteLength
      if (bytes >= 5 * characters) break
    }
  } catch {
    // What arrived before the connection broke is enough.
  }
  return Buffer.concat(got).toString().trim().slice(0, characters)
}

const codeOf = (error: unknown) => (error as { cause?: NodeJS.ErrnoException }).cause?.code ?? ''
export const wasClosed = (error: unknown) => ['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'].includes(codeOf(error))

/**
 * What a failed `fetch` means.
 *
 * @param at how the message names the store
 * @param remedy what to check when nothing listens at the address
 */
export function awayBecause(at: string, error: unknown, remedy: string): BlobsAwayError {
  return new BlobsAwayError(`${at}: ${reasonOf(error, remedy)}`, { cause: error })
}

function reasonOf(error: unknown, remedy: string): string {
  const { name, cause, message } = error as Error & { cause?: Error }
  if (name === 'TimeoutError' || name === 'AbortError') return 'did not answer in time'
  const known: Record<string, string> = {
    ECONNREFUSED: `nothing listens there; ${remedy}`,
    ENOTFOUND: 'no such host; look at --blobs',
    EAI_AGAIN: 'the name cannot be looked up now',
  }
  if (wasClosed(error)) return 'the connection was closed before the answer'
  return known[codeOf(error)] ?? cause?.message ?? message
}
