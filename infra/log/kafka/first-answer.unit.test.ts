import { expect, test } from 'vitest'
import { firstAnswer } from './first-answer.ts'

const silent = () => new Promise<string>(() => undefined)
const failing = (message: string) => () => Promise.reject(new Error(message))
const giving = (text: string) => () => Promise.resolve(text)

test('a silent one is not waited for when another answers', async () => {
  expect(await firstAnswer([silent, failing('away'), giving('here')], 10)).toBe('here')
})

test('the next is not asked when one answers at once', async () => {
  const asked: string[] = []
  const noted = (name: string) => () => {
    asked.push(name)
    return Promise.resolve(name)
  }
  expect(await firstAnswer([noted('first'), noted('second')], 10_000)).toBe('first')
  expect(asked).toEqual(['first'])
})

test('the last failure is told when all fail', async () => {
  await expect(firstAnswer([failing('one'), failing('two')], 10_000)).rejects.toThrow('two')
})
