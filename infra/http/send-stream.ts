import { pipeline } from 'node:stream/promises'
import type { HttpBindings } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import type { Context } from 'hono'

/** How long a client may read nothing of its answer. Inferred. */
export const STALLED_MS = 60_000

export interface Streamed {
  readonly status: 200 | 206
  readonly headers: Record<string, string | number>
  /** Closed early when the client leaves or stalls. */
  readonly bytes: AsyncIterable<Uint8Array>
  readonly stalled_ms?: number
}

/**
 * An answer whose bytes are read while they are sent. Written by hand: when the bytes cannot be read to their end, the
 * connection has to break; a web response would end the body with a message.
 */
export async function sendStream(
  context: Context,
  { status, headers, bytes, stalled_ms = STALLED_MS }: Streamed,
): Promise<Response> {
  const { outgoing } = context.env as HttpBindings
  outgoing.writeHead(status, headers)
  if (context.req.method === 'HEAD') outgoing.end()
  else {
    outgoing.setTimeout(stalled_ms, () => outgoing.destroy())
    await pipeline(bytes, outgoing).catch(() => outgoing.destroy())
  }
  return RESPONSE_ALREADY_SENT
}
