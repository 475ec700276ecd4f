import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { documentWith, fileWith, GENERATED_FILES, GENERATED_PARTS, UPDATE_DOCUMENTS } from './generated-parts.ts'

const document = (name: string) => readFile(fileURLToPath(new URL(`../${name}`, import.meta.url)), 'utf8')

test.each(GENERATED_PARTS)('$file shows its $name as the program has it', async (part) => {
  const { is, should_be } = await documentWith(part)
  expect(is, `${part.file} is stale; to write it anew: ${UPDATE_DOCUMENTS}`).toBe(should_be)
})

test.each(GENERATED_FILES)('$file is as the declarations of events have it', async (generated) => {
  const { is, should_be } = await fileWith(generated)
  expect(is, `${generated.file} is stale; to write it anew: ${UPDATE_DOCUMENTS}`).toBe(should_be)
})

test('every file that README, ARCHITECTURE and CONTRIBUTING name exists', async () => {
  for (const name of ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md']) {
    const text = await document(name)
    const paths = [...text.matchAll(/`((?:[\w.-]+\/)+[\w.-]+\.(?:ts|md|txt|png))`/g)].map(([, path]) => path ?? '')
    for (const path of new Set(paths)) {
      await expect(document(path), `${name} names ${path}`).resolves.toBeDefined()
    }
  }
})
