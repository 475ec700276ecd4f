import { expect, test } from 'vitest'
import { partsToRun } from './run.ts'

const wiring = {
  domains: [
    { name: 'tower', stages: ['score', 'group'] },
    { name: 'pendulum', stages: ['measure'] },
    { name: 'facts', stages: [] },
  ],
}
const run = (options: { domain?: string[]; only?: string[] }) => partsToRun(wiring, options, ['duckdb'])

test('a run without --domain runs every domain, with it the processors of those named', () => {
  expect(run({})).toEqual([])
  expect(run({ domain: ['pendulum'] })).toEqual(['measure'])
  expect(run({ domain: ['pendulum', 'tower'] })).toEqual(['score', 'group', 'measure'])
  expect(run({ domain: ['tower'], only: ['group', 'duckdb'] })).toEqual(['group', 'duckdb'])
})

test.each([
  [{ domain: ['towers'] }, '--domain towers: no such domain'],
  [{ domain: ['pendulum'], only: ['score'] }, '--only score: no such processor or sink of pendulum'],
  [{ domain: ['facts'] }, '--domain facts: no processor belongs to it'],
  [{ only: ['scor'] }, '--only scor: no such processor or sink'],
])('%j is refused', (options, message) => {
  expect(() => run(options)).toThrow(message)
})
