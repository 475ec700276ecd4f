import { CallFailedError, type HttpAnswer } from '../processor.ts'
import { excerpt } from './chat-answer.ts'
import { DISPENSABLE, LEARNED } from './chat-request.ts'

/** Whether the request itself is what the server does not like. */
export const isRefused = ({ status }: HttpAnswer) => status === 400 || status === 422

/** What to ask differently, where the server says that that is why it refused. */
export function lessonOf({ text }: HttpAnswer, learned: ReadonlySet<string>): string | undefined {
  for (const parameter of DISPENSABLE) {
    if (text.includes(parameter) && !learned.has(LEARNED.without(parameter))) return LEARNED.without(parameter)
  }
  if (text.includes('max_completion_tokens') && !learned.has(LEARNED.completion_tokens)) {
    return LEARNED.completion_tokens
  }
  return undefined
}

/** An answer that holds no completion, as the failure that it is. */
export function refusalOf(answer: HttpAnswer, policy: string, now_ms: number): CallFailedError {
  const { status, headers, text } = answer
  const said = `${policy}: HTTP ${status}: ${messageOf(text)}`
  const retry_after_ms = retryAfterMs(headers['retry-after'], now_ms)
  const wait = retry_after_ms === undefined ? {} : { retry_after_ms }
  if (status === 401 || status === 403) {
    const remedy = 'set PLUMBLINE_API_KEY (or OPENAI_API_KEY) to a key that may use this model, and run again'
    return new CallFailedError(`${said}; ${remedy}`, { scope: 'endpoint', permanent: true, ...wait })
  }
  if (status === 404 || status === 405) {
    const remedy = 'is the URL the one that ends in /v1, and does the server serve a model of this name?'
    return new CallFailedError(`${said}; ${remedy}`, { scope: 'endpoint', permanent: true, ...wait })
  }
  if (status === 429 || status === 502 || status === 503 || status === 504 || status === 529) {
    return new CallFailedError(said, { scope: 'endpoint', ...wait })
  }
  if (status === 408 || status === 409 || status === 425 || status >= 500) {
    return new CallFailedError(said, { scope: 'call', ...wait })
  }
  if (status >= 300 && status < 400) {
    const remedy = `name the address that it points to${headers.location === undefined ? '' : ` (${headers.location})`}`
    return new CallFailedError(`${said}; ${remedy}`, { scope: 'endpoint', permanent: true })
  }
  const remedy = 'does the model take images, and are --temperature and --max-tokens within what the server allows?'
  return new CallFailedError(`${said}; ${remedy}`, { scope: 'call', permanent: true, ...wait })
}

/** The error's own message where the body has one, as OpenAI's and vLLM's have. */
function messageOf(text: string): string {
  try {
    const { error, message, detail } = JSON.parse(text) as Record<string, unknown>
    const inner = typeof error === 'object' && error !== null ? (error as { message?: unknown }).message : error
    for (const said of [inner, message, detail]) if (typeof said === 'string') return excerpt(said)
  } catch {}
  return excerpt(text)
}

/** RFC 9110: seconds, or a date. */
function retryAfterMs(value: string | undefined, now_ms: number): number | undefined {
  if (value === undefined) return undefined
  const wait = /^\s*\d+(\.\d+)?\s*$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - now_ms
  return Number.isFinite(wait) ? Math.max(0, wait) : undefined
}
