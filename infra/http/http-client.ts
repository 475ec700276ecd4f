import http from 'node:http'
import https from 'node:https'
import { CallFailedError, type HttpClient } from '../../processors/processor.ts'

export interface HttpClientOptions {
  /** Sent as a bearer token with every request, and struck out of whatever comes back. */
  readonly api_key?: string | undefined
  readonly max_answer_bytes?: number
}

const MAX_ANSWER_BYTES = 64 * 1024 * 1024

/**
 * Node's own client with connections kept alive. It has no time limit of its own (`fetch` gives up silently after five
 * minutes without headers, which a long completion may take): the caller's signal is the only one.
 */
export function httpClient({ api_key, max_answer_bytes = MAX_ANSWER_BYTES }: HttpClientOptions = {}): HttpClient {
  const agents = { 'http:': new http.Agent({ keepAlive: true }), 'https:': new https.Agent({ keepAlive: true }) }

  return {
    post: (url, body, signal) =>
      new Promise((resolve, reject) => {
        const target = new URL(url)
        const bytes = Buffer.from(JSON.stringify(body))
        const broken = (why: string) => reject(new CallFailedError(`${target.origin}: ${why}`, { scope: 'call' }))
        const headers: http.OutgoingHttpHeaders = {
          'content-type': 'application/json',
          'content-length': bytes.byteLength,
          accept: 'application/json',
          ...(api_key === undefined ? {} : { authorization: `Bearer ${api_key}` }),
        }
        const { request } = target.protocol === 'https:' ? https : http
        const agent = agents[target.protocol as keyof typeof agents]
        const asked = request(target, { method: 'POST', headers, agent, signal }, (answer) => {
          const chunks: Buffer[] = []
          let size = 0
          answer.on('data', (chunk: Buffer) => {
            size += chunk.byteLength
            if (size > max_answer_bytes) asked.destroy(new Error(`the answer is over ${max_answer_bytes} bytes`))
            else chunks.push(chunk)
          })
          answer.on('error', (error) => (signal.aborted ? reject(signal.reason) : broken(brokenOff(error))))
          answer.on('end', () => {
            if (!answer.complete) return broken('the answer broke off')
            const text = Buffer.concat(chunks).toString('utf8')
            resolve({
              status: answer.statusCode ?? 0,
              headers: Object.fromEntries(
                Object.entries(answer.headers).map(([name, value]) => [name, Array.isArray(value) ? value[0] : value]),
              ),
              text: api_key === undefined ? text : text.replaceAll(api_key, '[the key]'),
            })
          })
        })
        asked.on('error', (error: NodeJS.ErrnoException) => {
          if (signal.aborted) return reject(signal.reason)
          // A kept connection that the other side has closed meanwhile says nothing about the other side.
          if (asked.reusedSocket && error.code === 'ECONNRESET') return broken('the connection was closed')
          reject(new CallFailedError(`${target.origin}: ${unreachable(error)}`, { scope: 'endpoint' }))
        })
        asked.end(bytes)
      }),
  }
}

const brokenOff = (error: NodeJS.ErrnoException) =>
  error.code === 'ECONNRESET' ? 'the answer broke off' : error.message

function unreachable(error: NodeJS.ErrnoException): string {
  const known: Record<string, string> = {
    ECONNREFUSED: 'nothing listens there; is the server up?',
    ECONNRESET: 'the connection was closed before an answer came',
    ENOTFOUND: 'no such host; look at the URL of --policy',
    EAI_AGAIN: 'the name cannot be looked up now',
    ETIMEDOUT: 'cannot be reached',
  }
  return known[error.code ?? ''] ?? error.message
}
