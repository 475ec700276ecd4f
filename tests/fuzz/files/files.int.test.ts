import { expect, test } from 'vitest'
import { fuzz, fuzzReport } from '../fuzz.ts'
import { filesPart } from './part.ts'

test('a damaged log, DuckDB file or blob gives what was written or an error, and crashes no process of the program', {
  timeout: 240_000,
}, async () => {
  const result = await fuzz({ part: filesPart, seed: 'ci', calls: 45 })
  expect(result.failure, fuzzReport(filesPart, result)).toBeUndefined()
  expect(Object.keys(result.outcomes).length).toBeGreaterThan(4)
})
