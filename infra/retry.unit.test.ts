import { globSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { CallFailedError } from '../processors/processor.ts'
import { PoisonError } from '../schemas/declare/event-errors.ts'
import { BlobCorruptError, BlobMissingError, BlobsAwayError } from './blobs/blobs.ts'
import { FencedError, LogFullError, LogUnreachableError, OffsetGoneError } from './log/port/log.ts'
import { retryOf } from './retry.ts'

const system = (code: string) => Object.assign(new Error('refused'), { code })
const gone = { topic: 't', partition: 0, from: 0n, beginning: 1n }

test.each([
  ['a full log', new LogFullError('x'), 'later'],
  ['an unreachable log', new LogUnreachableError('x'), 'later'],
  ['a partition of another owner', new FencedError('x'), 'later'],
  ['an unavailable blob store', new BlobsAwayError('x'), 'later'],
  ['a call that failed', new CallFailedError('x', { scope: 'call' }), 'later'],
  ['a call that only a person can fix', new CallFailedError('x', { scope: 'call', permanent: true }), 'never'],
  ['a missing blob', new BlobMissingError('x'), 'never'],
  ['a damaged blob', new BlobCorruptError('x'), 'never'],
  ['a record that is no event', new PoisonError('x'), 'never'],
  ['records that retention removed', new OffsetGoneError('x', gone), 'never'],
  ...['ENOSPC', 'EIO', 'ESTALE', 'EACCES', 'EROFS', 'EMFILE', 'ECONNREFUSED', 'ETIMEDOUT', 'EAI_AGAIN', 'ENOENT'].map(
    (code) => [`system error ${code}`, system(code), 'later'] as const,
  ),
  ['fetch failed', new TypeError('fetch failed', { cause: system('ECONNRESET') }), 'later'],
  ['an error about another', new Error('reading', { cause: new BlobsAwayError('x') }), 'later'],
  ['a bug', new TypeError('x is not a function'), 'never'],
  ['an error caused by a bug', new Error('x', { cause: new TypeError('y') }), undefined],
  ['an argument that Node refuses', system('ERR_INVALID_ARG_TYPE'), undefined],
  ['an error of a package', new Error('IO Error: something'), undefined],
  ['no error at all', 'text', undefined],
] as const)('%s: %s', (_, error, expected) => {
  expect(retryOf(error)).toBe(expected)
})

test('every error class of the program declares whether a retry can help', () => {
  const silent: string[] = []
  let found = 0
  const files = globSync('{schemas,environments,processors,infra,sources,sinks,streams,cli}/**/*.ts')
  for (const file of files.filter((name) => !name.endsWith('.test.ts'))) {
    for (const [body, name] of readFileSync(file, 'utf8').matchAll(/class (\w+) extends Error \{.*?\n?\}\n/gs)) {
      found++
      if (!/^ {2}readonly retry\b/m.test(body) && !body.includes('extends Error {}')) silent.push(`${file}: ${name}`)
    }
  }
  expect(silent).toEqual([])
  expect(found).toBeGreaterThan(30)
})
