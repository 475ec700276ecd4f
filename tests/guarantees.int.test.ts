import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const read = (name: string) => readFile(fileURLToPath(new URL(`../${name}`, import.meta.url)), 'utf8')
const UNPROVEN = /\*not proven\*|\*tested by hand\*|^not promised: /

/** The last cell of each row that makes a promise. */
async function proofs(): Promise<{ readonly row: string; readonly proof: string }[]> {
  const rows = (await read('docs/guarantees.md')).split('\n').filter((line) => /^\| (?!promise )/.test(line))
  return rows.map((row) => ({ row, proof: (row.split('|').at(-2) ?? '').trim() }))
}

test('every row of docs/guarantees.md names a test, or is marked as having none', async () => {
  const found = await proofs()
  expect(found.length).toBeGreaterThan(50)
  const without = found.filter(({ proof }) => !/`[^`]+\.ts` › ./.test(proof) && !UNPROVEN.test(proof))
  expect(without.map(({ row }) => row)).toEqual([])
})

test('every test that docs/guarantees.md names is in the file that it names', async () => {
  const missing: string[] = []
  for (const { proof } of await proofs()) {
    for (const [, file = '', title = ''] of proof.matchAll(/`([^`]+\.ts)` › (.+?)(?=; `|$)/g)) {
      const text = await read(file).catch(() => '')
      if (!text.includes(title)) missing.push(`${file} › ${title}`)
    }
  }
  expect(missing).toEqual([])
})
