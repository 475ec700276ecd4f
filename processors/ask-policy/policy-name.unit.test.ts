import { describe, expect, test } from 'vitest'
import { nameOf, parseHttpPolicy, unsupportedTokenIn } from './policy-name.ts'

const URL = 'http://127.0.0.1:8000/v1'

describe('openai(URL, MODEL, OPTIONS)', () => {
  test('names the tokens that no trainer takes, and its name is read as what it names', () => {
    const policy = parseHttpPolicy(`openai(${URL}, Qwen/Qwen3-VL, {"unsupported_tokens": [151656, 151655, 151655]})`)
    expect(policy).toEqual({ url: URL, model: 'Qwen/Qwen3-VL', unsupported_tokens: [151655, 151656] })
    expect(nameOf(policy)).toBe(`openai(${URL}, Qwen/Qwen3-VL, {"unsupported_tokens":[151655,151656]})`)
    expect(parseHttpPolicy(nameOf(policy))).toEqual(policy)
  })

  test('is a name as before without options, commas and brackets in it included', () => {
    for (const model of ['tiny', 'a, b', '{tiny}', 'a {b} c']) {
      expect(parseHttpPolicy(`openai(${URL}, ${model})`)).toEqual({ url: URL, model })
      expect(nameOf({ url: URL, model })).toBe(`openai(${URL}, ${model})`)
    }
  })

  test('follow a lineage as they follow a model', () => {
    const policy = parseHttpPolicy(`openai(${URL}, lineage:lab, {"unsupported_tokens": [7]})`)
    expect(policy).toEqual({ url: URL, lineage: 'lab', unsupported_tokens: [7] })
    expect(nameOf(policy)).toBe(`openai(${URL}, lineage:lab, {"unsupported_tokens":[7]})`)
  })

  test.each([
    ['{"unsupported_tokens": []}', 'unsupported_tokens: expected a list of 1 to 256 token ids'],
    ['{"unsupported_tokens": [-1]}', 'unsupported_tokens: expected a list of 1 to 256 token ids'],
    ['{"unsupported_tokens": [1.5]}', 'unsupported_tokens: expected a list of 1 to 256 token ids'],
    ['{"unsupported_tokens": "7"}', 'unsupported_tokens: expected a list of 1 to 256 token ids'],
    ['{"unsupported": [7]}', 'option unsupported: expected unsupported_tokens'],
    ['{unsupported_tokens: [7]}', 'no JSON object'],
  ])('refuses %s in words', (options, problem) => {
    expect(() => parseHttpPolicy(`openai(${URL}, tiny, ${options})`)).toThrow(problem)
  })
})

test('the first such token of a completion is found; a policy of another kind has none', () => {
  const policy = `openai(${URL}, tiny, {"unsupported_tokens": [7, 9]})`
  expect(unsupportedTokenIn({ policy, token_ids: [1, 9, 7] })).toBe(9)
  expect(unsupportedTokenIn({ policy, token_ids: [1, 8] })).toBe(undefined)
  expect(unsupportedTokenIn({ policy, token_ids: null })).toBe(undefined)
  for (const other of [
    'oracle',
    `openai(${URL}, tiny)`,
    'openai("unsupported_tokens"',
    'x {"unsupported_tokens": [7]}',
  ]) {
    expect(unsupportedTokenIn({ policy: other, token_ids: [7] })).toBe(undefined)
  }
})
