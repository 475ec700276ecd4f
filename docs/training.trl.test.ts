import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { pageRun } from '../tests/trl/page-run.ts'

const page = await readFile(new URL('training.md', import.meta.url), 'utf8')
const MODEL = 'Qwen/Qwen3-VL-2B-Instruct'
const ADDRESS = 'http://127.0.0.1:8470'

/** The script of a block ```python NAME. */
function script(name: string): string {
  const [, body] = new RegExp(`^\`\`\`python ${name}\\n([\\s\\S]*?)^\`\`\`$`, 'm').exec(page) ?? []
  if (body === undefined) throw new Error(`docs/training.md: expected a block named ${name}`)
  return body
}

test('the examples of docs/training.md with torch and TRL work as described, with a tiny model', async () => {
  expect(script('trl-train.py')).toContain(MODEL)
  const printed = await pageRun(8, ({ url, model }) =>
    ['torch-loader.py', 'trl-train.py', 'trl-train.py'].map((name) => ({
      name,
      body: script(name)
        .replaceAll(ADDRESS, url)
        .replaceAll(MODEL, model)
        .replace('stop_when_idle=60', 'stop_when_idle=5')
        // As TRL asks where there is no GPU.
        .replace('output_dir="trl",', 'output_dir="trl", use_cpu=True, bf16=False,'),
    })),
  )
  expect(printed[0]).toBe('1 (16, 6)\n2 (16, 6)\n')
  expect(printed[1]).toMatch(/^epoch 1: step 4$/m)
  expect(printed[2]).toMatch(/^epoch 2: step 4$/m)
})
