import { createServer, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { getRequestListener } from '@hono/node-server'
import type { Context, Env, Hono } from 'hono'
import { retryOf } from '../retry.ts'
import { type Listening, listen } from './listen.ts'

/**
 * The HTTP server of every endpoint: routes are a Hono application, and all limits and errors are handled here. What a
 * client sends, well-formed or not, gets an answer or a closed connection and never ends the process.
 */
export interface HttpServerOptions {
  readonly host: string
  readonly port: number
  /** Limit for one request, from its first byte to the last of its body. */
  readonly request_timeout_ms?: number
  readonly max_connections?: number
  /** A certificate, with those that lead to its issuer, and its private key, in PEM. Without them the server speaks plain HTTP. */
  readonly tls?: { readonly cert: string; readonly key: string }
  /** The answer to an error that a route has thrown; default: its message as plain text. */
  readonly errorAnswer?: (error: Error, context: Context) => Response
}

const HEADERS_TIMEOUT_MS = 10_000
const REQUEST_TIMEOUT_MS = 30_000
const KEEP_ALIVE_MS = 5_000
const MAX_HEADER_BYTES = 16 * 1024
const MAX_HEADERS = 100
const MAX_CONNECTIONS = 256
/** How often Node looks for connections that have exceeded a timeout. */
const CHECK_MS = 1_000

/** @throws Error when the address cannot be listened on, or the certificate is not one, or not of this key */
export async function serveHttp<E extends Env>(app: Hono<E>, options: HttpServerOptions): Promise<Listening> {
  const { request_timeout_ms = REQUEST_TIMEOUT_MS, max_connections = MAX_CONNECTIONS, tls } = options
  app.onError(options.errorAnswer ?? plainAnswer)
  const listener = getRequestListener(app.fetch, {
    overrideGlobalObjects: false,
    // An HTTP/1.0 client need not name a host.
    hostname: 'localhost',
    errorHandler: () => refusal(400, 'expected an HTTP request with a valid path and host'),
  })
  const limits = {
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: Math.min(HEADERS_TIMEOUT_MS, request_timeout_ms),
    requestTimeout: request_timeout_ms,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: CHECK_MS,
  }
  const answer: RequestListener = (request, response) => {
    // A client that disconnects during an answer is not an error of this process.
    response.on('error', () => {})
    void listener(request, response)
  }
  const server =
    tls === undefined
      ? createServer(limits, answer)
      : createTlsServer({ ...limits, ...tls, handshakeTimeout: limits.headersTimeout }, answer)
  server.maxHeadersCount = MAX_HEADERS
  server.maxConnections = max_connections
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    socket.on('error', () => {})
    // Without a handshake there is no way to answer.
    if (/^(ECONNRESET|EPROTO|ERR_(SSL|TLS)_.*)$/.test(error.code ?? '') || !socket.writable)
      return void socket.destroy()
    const status = STATUS_OF_CLIENT_ERROR[error.code ?? ''] ?? '400 Bad Request'
    socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`, () => socket.destroy())
  })
  return await listen(server, options)
}

const STATUS_OF_CLIENT_ERROR: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
}

/** Thrown by a route to refuse a request, with the status of the answer. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError'
  readonly retry = 'never'
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

const plainAnswer = (error: Error, context: Context) =>
  plainText(context, error instanceof RefusedError ? error.status : statusOf(error), error.message)

const statusOf = (error: unknown) => (retryOf(error) === 'later' ? 503 : 500)

export function plainText(context: Context, status: number, text: string): Response {
  for (const [name, value] of refusal(status, text).headers) context.header(name, value)
  return context.body(`${text}\n`, status as 400)
}

function refusal(status: number, text: string): Response {
  const headers = { 'content-type': 'text/plain; charset=utf-8', 'content-length': String(Buffer.byteLength(text) + 1) }
  return new Response(`${text}\n`, { status, headers })
}
