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
