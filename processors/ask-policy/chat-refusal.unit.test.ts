import { describe, expect, test } from 'vitest'
import { isRefused, lessonOf, refusalOf } from './chat-refusal.ts'
import { type ChatPlan, LEARNED } from './chat-request.ts'
import { parseHttpPolicy } from './policy-name.ts'

const NOW = Date.parse('2026-01-01T00:00:00Z')
const PLAN: ChatPlan = {
  group_id: 'g',
  prompt: 'move it',
  images: [{ sha256: '', bytes: 0, media_type: 'image/png' }],
  sampling: { temperature: 1, top_p: 1, top_k: null, max_tokens: 1_024, stop: [] },
  unasked: ['temperature', 'top_p', 'max_tokens'],
  seed: '1',
}
const answer = (status: number, message = '', headers = {}) => ({
  status,
  headers,
  text: JSON.stringify({ error: { message } }),
})

describe('refusalOf', () => {
  test.each([
    ['30', 30_000],
    ['Thu, 01 Jan 2026 00:01:00 GMT', 60_000],
    ['Wed, 31 Dec 2025 00:00:00 GMT', 0],
    ['soon', undefined],
  ])('Retry-After: %s', (header, wait_ms) => {
    expect(refusalOf(answer(429, '', { 'retry-after': header }), 'p', NOW).retry_after_ms).toBe(wait_ms)
  })

  test.each([
    [429, 'endpoint', false],
    [503, 'endpoint', false],
    [500, 'call', false],
    [401, 'endpoint', true],
    [404, 'endpoint', true],
    [400, 'call', true],
    [308, 'endpoint', true],
  ])('%i: of the %s, for a person to fix: %s', (status, scope, permanent) => {
    expect(refusalOf(answer(status, 'why'), 'p', NOW)).toMatchObject({ scope, permanent })
  })
})

test('lessonOf: a parameter that the server names is replaced or left out, each once', () => {
  const refused = answer(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
  expect(isRefused(refused)).toBe(true)
  expect(lessonOf(refused, PLAN, new Set())).toBe(LEARNED.completion_tokens)
  expect(lessonOf(refused, PLAN, new Set([LEARNED.completion_tokens]))).toBe('no max_tokens')
  const asked = { ...PLAN, unasked: [] }
  expect(lessonOf(refused, asked, new Set([LEARNED.completion_tokens]))).toBe(undefined)
  expect(lessonOf(answer(400, 'Unrecognized request argument: return_token_ids'), PLAN, new Set())).toBe(
    'no return_token_ids',
  )
})

test('parseHttpPolicy: a pasted endpoint and a trailing slash mean the same server', () => {
  const url = 'http://127.0.0.1:8000/v1'
  for (const typed of [url, `${url}/`, `${url}/chat/completions`]) {
    expect(parseHttpPolicy(`openai(${typed}, Qwen/Qwen2.5-VL-3B)`)).toEqual({ url, model: 'Qwen/Qwen2.5-VL-3B' })
  }
})
