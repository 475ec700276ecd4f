import { expect, test } from 'vitest'
import { chosenSinks } from './chosen-sinks.ts'

test.each([
  [{ sink: true }, ['duckdb']],
  [{ sink: true, jsonl: 'events' }, ['duckdb', 'jsonl']],
  [{ sink: true, only: ['form-groups'] }, ['duckdb']],
  [{ sink: true, only: ['form-groups'], jsonl: 'events' }, ['duckdb', 'jsonl']],
  [{ sink: true, only: ['duckdb'] }, ['duckdb']],
  [{ sink: true, only: ['form-groups', 'jsonl'], jsonl: 'events' }, ['jsonl']],
  [{ sink: false, only: ['form-groups'] }, []],
  [{ sink: false }, []],
])('%j starts %j', (options, expected) => {
  expect(chosenSinks(options)).toEqual(expected)
})

test.each([
  [{ sink: false, jsonl: 'events' }, '--no-sink and --jsonl events: expected one of the two'],
  [{ sink: false, only: ['duckdb'] }, '--no-sink and --only duckdb: expected one of the two'],
  [{ sink: true, only: ['jsonl'] }, '--only jsonl: expected a folder for the files'],
  [{ sink: true, only: ['duckdb'], jsonl: 'events' }, '--jsonl events: --only leaves that sink out'],
  [{ sink: true, jsonl: '' }, '--jsonl: expected a folder'],
])('%j is refused', (options, says) => {
  expect(() => chosenSinks(options)).toThrow(says)
})
