import type { OutgoingHttpHeaders } from 'node:http'
import https from 'node:https'
import { CallFailedError, type HttpClient } from '../../processors/processor.ts'
import { Intake, readBody } from './answer-body.ts'
import { http } from './node-http.ts'

export interface HttpClientOptions {
  /** Sent as a bearer token with every request, and removed from the text of every answer. */
  readonly api_key?: string | undefined
  /** Limit for one answer, decompressed. */
  readonly max_answer_bytes?: number
  /** Limit for all answers that are being received at once. */
  readonly max_intake_bytes?: number
}

const MAX_ANSWER_BYTES = 64 * 1024 * 1024
const MAX_INTAKE_BYTES = 96 * 1024 * 1024

/**
 * Node's own client with connections kept alive. It has no time limit of its own (`fetch` gives up silently after five
 * minutes without headers, which a long completion may take): the caller's signal is the only one.
 */
export function httpClient(options: HttpClientOptions = {}): HttpClient {
  const { api_key, max_answer_bytes = MAX_ANSWER_BYTES, max_intake_bytes = MAX_INTAKE_BYTES } = options
  const intake = new Intake(max_intake_bytes)
  const agents = { 'http:': new http.Agent({ keepAlive: true }), 'https:': new https.Agent({ keepAlive: true }) }

  return {
    post: (url, body, signal) =>
      new Promise((resolve, reject) => {
        const target = new URL(url)
        const bytes = Buffer.from(JSON.stringify(body))
        const broken = (why: string) => reject(new CallFailedError(`${target.origin}: ${why}`, { scope: 'call' }))
        const headers: OutgoingHttpHeaders = {
          'content-type': 'application/json',
          'content-length': bytes.byteLength,
          accept: 'application/json',
          ...(api_key === undefined ? {} : { authorization: `Bearer ${api_key}` }),
        }
        const { request } = target.protocol === 'https:' ? https : http
        const agent = agents[target.protocol as keyof typeof agents]
        const asked = request(target, { method: 'POST', headers, agent, signal }, (answer) => {
          const bounds = { where: target.origin, max_bytes: max_answer_bytes }
          readBody(answer, answer.headers['content-encoding'], intake, bounds)
            .then((text) => {
              if (!answer.complete) return broken('the answer broke off')
              resolve({
                status: answer.statusCode ?? 0,
                headers: Object.fromEntries(
                  Object.entries(answer.headers).map(([name, value]) => [
                    name,
                    Array.isArray(value) ? value[0] : value,
                  ]),
                ),
                text: api_key === undefined ? text : text.replaceAll(api_key, '[the key]'),
              })
            })
            .catch((error: Error) => {
              asked.destroy()
              if (signal.aborted) reject(signal.reason)
              else if (error instanceof CallFailedError) reject(error)
              else broken(brokenOff(error))
            })
        })
        asked.on('error', (error: NodeJS.ErrnoException) => {
          if (signal.aborted) return reject(signal.reason)
          // A closed keep-alive connection does not mean that the endpoint has failed.
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
    ECONNRESET: 'the connection was closed before the answer',
    ENOTFOUND: 'no such host; look at the URL of --policy',
    EAI_AGAIN: 'the name cannot be looked up now',
    ETIMEDOUT: 'cannot be reached',
  }
  return known[error.code ?? ''] ?? error.message
}
