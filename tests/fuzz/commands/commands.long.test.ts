import { expect, test } from 'vitest'
import { random } from '../../../environments/tower/random.ts'
import { fuzz, fuzzReport } from '../fuzz.ts'
import { CommandLines } from './command-lines.ts'
import { commandsPart, expectWords } from './part.ts'

test('whatever the command line, the program ends with a message and an exit code of its own', async () => {
  const result = await fuzz({ part: commandsPart, seed: 'ci', calls: 40 })
  expect(result.failure, fuzzReport(commandsPart, result)).toBeUndefined()
  expect(result.outcomes['exit 2']).toBeGreaterThan(5)
  expect(result.outcomes['exit 0']).toBeGreaterThan(2)
})

test('every command is tried, and a seed and a number are the same command line in every process', async () => {
  const lines = await CommandLines.load()
  expect(lines.commands).toEqual(expect.arrayContaining(['run', 'generate tower', 'dlq retry', 'blobs serve']))
  const all = Array.from({ length: 500 }, (_, call) => lines.next(random('fuzz', 'commands', 'a', call)))
  expect(all.map((_, call) => lines.next(random('fuzz', 'commands', 'a', call)))).toEqual(all)
  const first = new Set(all.map(([word]) => word))
  for (const command of lines.commands) expect(first).toContain(command === '' ? undefined : command.split(' ')[0])
})

test.each([
  ['a crash', { code: null, signal: 'SIGSEGV' as const }, 'expected exit 0, 1, 2'],
  ['another exit code', { code: 7 }, 'expected exit 0, 1, 2'],
  ['a stack trace', { stderr: 'Error: x\n    at main (main.ts:1:1)\n' }, 'got a stack trace'],
  ['what a terminal obeys', { stderr: 'plumbline: \u001b[2J\n' }, 'no control characters, got "\\u001b"'],
  ['a failure without a word', { stderr: '' }, 'expected a message, got none'],
  ['a whole screen of a message', { stderr: 'x'.repeat(30_000) }, 'got 30000 characters'],
])('%s is found', (_, what, problem) => {
  const ended = { code: 1, signal: null, stdout: '', stderr: 'plumbline: no\n', ...what }
  const words = { stopped: false, debug: false, verbatim: false }
  expect(() => expectWords({ ...ended, stderr: 'plumbline: no\n', code: 1, signal: null }, words)).not.toThrow()
  expect(() => expectWords(ended, words)).toThrow(problem)
})
