import { expect, test } from 'vitest'
import { firstOf } from './first-of.ts'

const silent = () => new Promise<string>(() => undefined)
const failing = (message: string) => () => Promise.reject(new Error(message))
const giving = (text: string) => () => Promise.resolve(text)
const denying = () => Promise.reject(Object.assign(new Error('no'), { type: 'TOPIC_AUTHORIZATION_FAILED' }))

test('a silent server does not delay the answer of another', async () => {
  expect(await firstOf([silent, failing('away'), giving('here')], 10)).toBe('here')
})

test('the next server is not asked when the first answers at once', async () => {
  const asked: string[] = []
  const noted = (name: string) => () => {
    asked.push(name)
    return Promise.resolve(name)
  }
  expect(await firstOf([noted('first'), noted('second')], 10_000)).toBe('first')
  expect(asked).toEqual(['first'])
})

test('a denial is thrown at once, otherwise the last failure when all have failed', async () => {
  await expect(firstOf([denying, silent], 10_000)).rejects.toThrow('no')
  await expect(firstOf([failing('one'), failing('two')], 10_000)).rejects.toThrow('two')
})
