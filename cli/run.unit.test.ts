import { expect, test } from 'vitest'
import { partsToRun } from './run.ts'

const wiring = {
  domains: [
    { name: 'rollouts', builds_on: [], stages: ['group'] },
    { name: 'tower', builds_on: ['rollouts'], stages: ['score'] },
    { name: 'castle', builds_on: ['tower'], stages: ['build'] },
    { name: 'pendulum', builds_on: [], stages: ['measure'] },
    { name: 'facts', builds_on: [], stages: [] },
  ],
  stages: ['score', 'group', 'measure', 'build'].map((name) => ({ name })),
}
const run = (options: { domain?: string[]; only?: string[] }) => partsToRun(wiring, options, ['duckdb'])

test('a run without --domain runs every domain, with it the processors of those named and of those they build on', () => {
  expect(run({})).toEqual([])
  expect(run({ domain: ['pendulum'] })).toEqual(['measure'])
  expect(run({ domain: ['rollouts'] })).toEqual(['group'])
  expect(run({ domain: ['pendulum', 'tower'] })).toEqual(['score', 'group', 'measure'])
  expect(run({ domain: ['castle'] })).toEqual(['score', 'group', 'build'])
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
