import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { asMermaid, asText } from '../streams/describe.ts'
import { DEFAULTS, topology } from '../streams/topology.ts'

const document = (name: string) => readFile(fileURLToPath(new URL(`../${name}`, import.meta.url)), 'utf8')

test('the README shows the topology as the program prints it, and it fits a screen', async () => {
  const text = asText(await topology(DEFAULTS))
  // All but the fingerprint, which changes with every event that is declared.
  const wiring = text.replace(/, fingerprint [0-9a-f]+$/, '')
  expect(await document('README.md')).toContain(wiring)
  expect(text.split('\n').length).toBeLessThanOrEqual(40)
  expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100)
})

test('ARCHITECTURE shows its chart without the sink’s arrows', async () => {
  const chart = asMermaid(await topology(DEFAULTS))
  const solid = chart.split('\n').filter((line) => !line.includes('-.->'))
  expect(await document('ARCHITECTURE.md')).toContain(solid.join('\n'))
})

test('every file that README, ARCHITECTURE and CONTRIBUTING name is there', async () => {
  for (const name of ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md']) {
    const text = await document(name)
    const paths = [...text.matchAll(/`((?:[\w.-]+\/)+[\w.-]+\.(?:ts|md|txt|png))`/g)].map(([, path]) => path ?? '')
    for (const path of new Set(paths)) {
      await expect(document(path), `${name} names ${path}`).resolves.toBeDefined()
    }
  }
})
