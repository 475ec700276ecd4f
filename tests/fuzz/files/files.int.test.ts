import { expect, test } from 'vitest'
import { fuzz, fuzzReport } from '../fuzz.ts'
import { filesPart } from './part.ts'

test('a damaged log file ends no process and gives no other record than was written, and its repair names what is not whole', {
  timeout: 120_000,
}, async () => {
  const result = await fuzz({ part: filesPart, seed: 'ci', calls: 24 })
  expect(result.failure, fuzzReport(filesPart, result)).toBeUndefined()
  expect(Object.keys(result.outcomes).length).toBeGreaterThan(4)
})
