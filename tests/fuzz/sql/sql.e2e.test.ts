import { expect, test } from 'vitest'
import { random } from '../../../environments/tower/random.ts'
import { type FuzzPart, fuzz, fuzzReport } from '../fuzz.ts'
import { sqlPart } from './part.ts'
import { Statements } from './statements.ts'

test('generated queries change nothing, leave nothing open, and are answered in time', async () => {
  const result = await fuzz({ part: sqlPart, seed: 'ci', calls: 200 })
  expect(result.failure, fuzzReport(sqlPart, result)).toBeUndefined()
  expect(result.outcomes.answered).toBeGreaterThan(20)
})

test('a seed and a number are the same query in every process', () => {
  const statements = new Statements([
    { kind: 'scalar', name: 'abs', parameters: ['DOUBLE'], varargs: null },
    { kind: 'table', name: 'range', parameters: ['BIGINT'], varargs: null },
  ])
  const questions = Array.from({ length: 50 }, (_, call) => statements.next(random('fuzz', 'sql', 'a', call)).sql)
  const again = questions.map((_, call) => statements.next(random('fuzz', 'sql', 'a', call)).sql)
  expect(again).toEqual(questions)
  expect(new Set(questions).size).toBeGreaterThan(40)
})

test('a planted bug is found, with its input and the command that repeats it', async () => {
  const planted: FuzzPart = {
    name: 'sql',
    open: async () => ({
      attempt: async (random, trying) => {
        const number = random.integer(0, 9)
        trying(`SELECT ${number}`)
        if (number === 7) throw new Error('seven ran')
        return 'answered'
      },
      check: async () => {},
      close: async () => {},
    }),
  }
  const result = await fuzz({ part: planted, seed: 'x', calls: 1_000 })
  const call = result.failure?.call
  expect(result.failure).toMatchObject({ input: 'SELECT 7' })
  expect(fuzzReport(planted, result)).toContain(`npm run test:fuzz -- sql --seed x --from ${call} --calls 1`)
  expect((await fuzz({ part: planted, seed: 'x', calls: 1, from: Number(call) })).failure?.input).toBe('SELECT 7')
})
