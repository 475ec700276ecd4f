import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { readAnswer } from './chat-answer.ts'

test('readAnswer: what vLLM 0.32.0 answered, word for word', async () => {
  const text = await readFile(new URL('vllm-answer.json', import.meta.url), 'utf8')
  const { choices, ...rest } = readAnswer({ status: 200, headers: {}, text })
  expect(rest).toEqual({ model: 'tiny-vlm', engine_version: 'vllm-0.32.0-e0639426', offered: 2 })
  for (const choice of choices) {
    expect(choice).toMatchObject({ trainable: true, logprobs_kind: 'raw' })
    expect(choice.logprobs).toHaveLength(choice.token_ids?.length ?? 0)
    expect(choice.completion_mask).toHaveLength(choice.token_ids?.length ?? 0)
    expect(choice.prompt_token_ids).toHaveLength(JSON.parse(text).usage.prompt_tokens)
  }
  expect(choices.map(({ finish_reason }) => finish_reason)).toEqual(['length', 'stop'])
})

const spans = (...of: readonly (readonly [unknown, number, number])[]) =>
  of.map(([version, start, end]) => ({ version, start, end }))

test.each<[string, unknown, number[] | null]>([
  ['of one version', spans(['7', 0, 3]), [7, 7, 7]],
  ['of weights that changed on the way', spans(['7', 0, 1], ['8', 1, 3]), [7, 8, 8]],
  ['that do not reach the end', spans(['7', 0, 2]), null],
  ['that go beyond the end', spans(['7', 0, 4]), null],
  ['with a gap', spans(['7', 0, 1], ['8', 2, 3]), null],
  ['of weights whose version is no number', spans(['default', 0, 3]), null],
  ['that are none', 'seven', null],
  ['that are empty', [], null],
])('readAnswer: weight_versions %s', (_, weight_versions, versions) => {
  const choice = { message: { content: 'a' }, token_ids: [1, 2, 3], weight_versions }
  const { choices } = readAnswer({ status: 200, headers: {}, text: JSON.stringify({ choices: [choice] }) })
  expect(choices[0]?.token_policy_version).toEqual(versions)
})
