import { expect, test } from 'vitest'
import { chosenSinks } from './chosen-sinks.ts'

test.each([
  [{ sink: true }, {}, ['duckdb']],
  [{ sink: true }, { jsonl: 'events' }, ['duckdb', 'jsonl']],
  [{ sink: true, only: ['form-groups'] }, {}, ['duckdb']],
  [{ sink: true, only: ['form-groups'] }, { jsonl: 'events' }, ['duckdb', 'jsonl']],
  [{ sink: true, only: ['duckdb'] }, {}, ['duckdb']],
  [{ sink: true, only: ['form-groups', 'jsonl'] }, { jsonl: 'events' }, ['jsonl']],
  [{ sink: false, only: ['form-groups'] }, {}, []],
  [{ sink: false }, {}, []],
])('%j with %j starts %j', (options, places, expected) => {
  expect(chosenSinks(options, places)).toEqual(expected)
})

test.each([
  [{ sink: false }, { jsonl: 'events' }, '--no-sink and --jsonl events: expected one of the two'],
  [{ sink: false, only: ['duckdb'] }, {}, '--no-sink and --only duckdb: expected one of the two'],
  [{ sink: true, only: ['jsonl'] }, {}, '--only jsonl: expected its folder too'],
  [{ sink: true, only: ['duckdb'] }, { jsonl: 'events' }, '--jsonl events: --only leaves that sink out'],
  [{ sink: true }, { jsonl: '' }, '--jsonl: expected a folder'],
])('%j with %j is refused', (options, places, says) => {
  expect(() => chosenSinks(options, places)).toThrow(says)
})
