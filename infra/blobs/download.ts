import { createHash } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { BlobRef } from '../../schemas/declare/logical-types.ts'
import {
  type BlobCall,
  BlobCorruptError,
  BlobMissingError,
  type BlobStore,
  BlobsAwayError,
  type ByteRange,
  named,
} from './blobs.ts'
import { collect, expectWithin, sha256Of } from './hashing.ts'

/** What a store over HTTP provides for reading. */
export interface Remote {
  /** How messages name it. */
  readonly at: string
  /** Time without any data after which a transfer counts as broken. */
  readonly stall_ms: number
  /** Attempts for a download, each resuming where the last one stopped. */
  readonly tries: number
  readonly max_bytes: number
  /**
   * Requests a blob, or a part of it with the header `range`.
   *
   * @returns an answer of status 200 or 206
   * @throws BlobMissingError, BlobsAwayError. BlobCorruptError when the stored blob is shorter.
   */
  open(ref: BlobRef, range: string | undefined, signal: AbortSignal): Promise<Response>
  /** Whether the stored bytes are wrong, as the store itself sees them. `actual`: the hash of those that arrived. */
  isDamaged(ref: BlobRef, actual: string, call: BlobCall): Promise<boolean>
}

/** A whole blob. Bytes that were damaged on the way are requested again. */
export async function download(remote: Remote, ref: BlobRef, call: BlobCall = {}): Promise<Uint8Array> {
  for (let attempt = 1; ; attempt++) {
    const bytes = await collect(pieces(remote, ref, call))
    const actual = sha256Of(bytes)
    if (actual === ref.sha256) return bytes
    const error = await wrong(remote, ref, actual, call)
    if (error instanceof BlobCorruptError || attempt >= remote.tries) throw error
    await backOff(attempt, call)
  }
}

/** As `getStream` of the port. */
export async function* downloadStream(
  remote: Remote,
  ref: BlobRef,
  call: NonNullable<Parameters<BlobStore['getStream']>[1]> = {},
): AsyncGenerator<Uint8Array> {
  if (call.range !== undefined) {
    expectWithin(ref, call.range)
    return yield* pieces(remote, ref, call)
  }
  const hash = createHash('sha256')
  for await (const piece of pieces(remote, ref, call)) {
    hash.update(piece)
    yield piece
  }
  const actual = hash.digest('hex')
  if (actual !== ref.sha256) throw await wrong(remote, ref, actual, call)
}

/** Errors that another attempt at the transfer cannot fix. */
const OF_THE_STORE = [BlobMissingError, BlobCorruptError, BlobsAwayError]

/** The bytes as they arrive. A transfer that breaks off or stalls is resumed where it stopped. */
export async function* pieces(
  remote: Remote,
  ref: BlobRef,
  { range, signal }: BlobCall & { readonly range?: ByteRange },
): AsyncGenerator<Uint8Array> {
  const from = range?.from ?? 0
  const wanted = range === undefined ? undefined : range.to - from
  let have = 0
  for (let attempt = 0; attempt < remote.tries; attempt++) {
    if (wanted === have) return
    await backOff(attempt, { signal })
    const stalled = new AbortController()
    const start = () => setTimeout(() => stalled.abort(), remote.stall_ms)
    let timer = start()
    try {
      const header = headerOf(from + have, range?.to)
      const answer = await remote.open(ref, header, anyOf(stalled.signal, signal))
      // A server that ignores the range sends everything: what is already here, or not wanted, is skipped.
      let skip = answer.status === 206 ? 0 : from + have
      for await (const chunk of (answer.body ?? []) as AsyncIterable<Uint8Array>) {
        clearTimeout(timer)
        const piece = chunk.subarray(skip, wanted === undefined ? undefined : skip + wanted - have)
        skip = Math.max(0, skip - chunk.byteLength)
        have += piece.byteLength
        if (have > remote.max_bytes) {
          throw new BlobsAwayError(`${remote.at}: ${named(ref)}: more than ${remote.max_bytes} bytes arrive`)
        }
        if (piece.byteLength > 0) yield piece
        if (wanted === have) return
        timer = start()
      }
      if (wanted === undefined) return
    } catch (error) {
      signal?.throwIfAborted()
      if (OF_THE_STORE.some((kind) => error instanceof kind)) throw error
    } finally {
      clearTimeout(timer)
    }
  }
  throw new BlobsAwayError(`${remote.at}: blob ${ref.sha256} broke off on the way, in ${remote.tries} tries`)
}

function headerOf(from: number, to: number | undefined): string | undefined {
  if (to !== undefined) return `bytes=${from}-${to - 1}`
  return from > 0 ? `bytes=${from}-` : undefined
}

/** A proxy may change bytes too: only the store can tell whether its stored bytes are wrong. */
async function wrong(remote: Remote, ref: BlobRef, actual: string, call: BlobCall): Promise<Error> {
  const what = `blob ${ref.sha256} of ${remote.at}: expected that SHA-256, what arrives has ${actual}`
  if (await remote.isDamaged(ref, actual, call)) {
    return new BlobCorruptError(`${what}; restore the file there from a copy`)
  }
  return new BlobsAwayError(`${what}, and its server finds it whole; check what is in between (a proxy?)`)
}

export async function backOff(
  attempt: number,
  { signal }: { readonly signal?: AbortSignal | undefined },
): Promise<void> {
  signal?.throwIfAborted()
  // The rejection of `wait` wraps the reason of the signal.
  if (attempt > 0) await wait(50 * 2 ** attempt, undefined, signal && { signal }).catch(() => signal?.throwIfAborted())
}

export function anyOf(...signals: readonly (AbortSignal | undefined)[]): AbortSignal {
  return AbortSignal.any(signals.filter((signal) => signal !== undefined))
}
