import { CallFailedError, type HttpAnswer } from '../processor.ts'
import { excerpt, isObject } from './chat-answer.ts'
import { askedFor, type CallPlan, type ChatPlan, dispensable, LEARNED } from './chat-request.ts'

/** Whether the server rejects the request itself. */
export const isRefused = ({ status }: HttpAnswer) => status === 400 || status === 422 || status === 501

/**
 * What to change in the request, if the server's refusal names it.
 * @returns undefined when it names nothing that may be omitted, or only what is omitted already.
 */
export function lessonOf(answer: HttpAnswer, plan: CallPlan, learned: ReadonlySet<string>): string | undefined {
  const said = textOf(errorIn(answer.text))
  if (names(said, 'max_completion_tokens') && !learned.has(LEARNED.completion_tokens)) return LEARNED.completion_tokens
  const named = dispensable(plan).find(
    (parameter) => names(said, parameter) && !learned.has(LEARNED.without(parameter)),
  )
  return named === undefined ? undefined : LEARNED.without(named)
}

/** Parameters that the request asks for and the refusal names. */
export function refusedOf(answer: HttpAnswer, plan: ChatPlan): string[] {
  const said = textOf(errorIn(answer.text))
  return askedFor(plan).filter((asked) => names(said, asked.split(' ')[0] as string))
}

const names = (text: string, parameter: string) => new RegExp(`(?<![\\w.])${parameter}(?!\\w)`).test(text)

/**
 * Gives an error with status 200 the status that its body names: some proxies send 200 before they know the result.
 * @returns the answer itself when it contains no error.
 */
export function withOwnStatus(answer: HttpAnswer): HttpAnswer {
  if (answer.status !== 200) return answer
  const status = statusIn(answer.text)
  return status === undefined ? answer : { ...answer, status }
}

/** An error object is short. A longer text is treated as an answer, so that it is parsed only once. */
const LONGEST_ERROR = 64 * 1024

function statusIn(text: string): number | undefined {
  if (text.length > LONGEST_ERROR || !text.includes('"error"')) return undefined
  const body = jsonOf(text)
  if (!isObject(body)) return undefined
  const choices = Array.isArray(body.choices) ? body.choices.filter(isObject) : []
  const whole = choices.some(({ error }) => !isObject(error))
  const error = present(body.error) ?? choices.map((choice) => present(choice.error)).find((it) => it !== undefined)
  if (error === undefined || whole) return undefined
  if (!isObject(error)) return statusOf(body.code ?? body.status) ?? 500
  for (const value of [error.code, error.status, error.status_code, body.code, body.status, error.type]) {
    const status = statusOf(value)
    if (status !== undefined) return status
  }
  return 500
}

const present = (error: unknown) => (error === null || error === undefined || error === '' ? undefined : error)

/** Words that servers use instead of a status. */
const STATUS_OF_WORD: readonly (readonly [RegExp, number])[] = [
  [/rate.?limit|too.?many|resource.?exhausted|quota/i, 429],
  [/overload|unavailable|capacity|not.?ready|loading/i, 503],
  [/time.?out/i, 504],
  [/auth|api.?key|permission/i, 401],
  [/not.?found/i, 404],
  [/invalid|bad.?request|unsupported|context.?length/i, 400],
]

function statusOf(value: unknown): number | undefined {
  const code =
    typeof value === 'number' || (typeof value === 'string' && /^\d+$/.test(value)) ? Number(value) : undefined
  if (code !== undefined) return code >= 300 && code < 600 ? code : undefined
  return typeof value === 'string' ? STATUS_OF_WORD.find(([word]) => word.test(value))?.[1] : undefined
}

/** The error for an answer without a completion. */
export function refusalOf(answer: HttpAnswer, policy: string, now_ms: number, refused: readonly string[] = []) {
  const { status, headers, text } = answer
  const said = `${policy}: HTTP ${status}: ${textOf(errorIn(text)) || excerpt(text)}`
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
  if (status === 408 || status === 409 || status === 425 || (status >= 500 && status !== 501)) {
    return new CallFailedError(said, { scope: 'call', ...wait })
  }
  if (status >= 300 && status < 400) {
    const remedy = `name the address that it points to${headers.location === undefined ? '' : ` (${headers.location})`}`
    return new CallFailedError(`${said}; ${remedy}`, { scope: 'endpoint', permanent: true })
  }
  const remedy =
    refused.length > 0
      ? `the request asks for ${refused.join(' and ')}, which is never left out: use a server that takes it, or request groups without it`
      : 'does the model take images, and are --temperature and --max-tokens within what the server allows?'
  return new CallFailedError(`${said}; ${remedy}`, { scope: 'call', permanent: true, ...wait })
}

/** What the server says about an error, on one line; empty when it says nothing. */
export const saidIn = ({ text }: HttpAnswer): string => textOf(errorIn(text))

/** The part of a body that describes the error: OpenAI's and vLLM's `error`, FastAPI's `detail`, or the body itself. */
function errorIn(text: string): unknown {
  const body = jsonOf(text)
  return isObject(body) ? (present(body.error) ?? present(body.detail) ?? present(body.message)) : undefined
}

/** An error's message, with the parameter that it names: `param` of OpenAI, `loc` of FastAPI. */
function textOf(error: unknown): string {
  if (typeof error === 'string') return excerpt(error)
  if (Array.isArray(error)) return error.map(textOf).filter(Boolean).join('; ')
  if (!isObject(error)) return ''
  const where = Array.isArray(error.loc) ? error.loc.join(' ') : error.param
  const words = [error.message, error.msg, error.detail].find((value) => typeof value === 'string') as
    | string
    | undefined
  return [typeof where === 'string' && !words?.includes(where) ? where : '', excerpt(words ?? JSON.stringify(error))]
    .filter((part) => part !== '')
    .join(': ')
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** RFC 9110: seconds, or a date. */
function retryAfterMs(value: string | undefined, now_ms: number): number | undefined {
  if (value === undefined) return undefined
  const wait = /^\s*\d+(\.\d+)?\s*$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - now_ms
  return Number.isFinite(wait) ? Math.max(0, wait) : undefined
}
