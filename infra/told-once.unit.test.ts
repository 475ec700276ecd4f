import { expect, test } from 'vitest'
import { ToldOnce } from './told-once.ts'

function told(): { said: string[]; once: ToldOnce } {
  const said: string[] = []
  return { said, once: new ToldOnce((message) => said.push(message)) }
}

test('a trouble is told once, however often and by however many it is met, numbers aside', () => {
  const { said, once } = told()
  for (let attempt = 1; attempt <= 18; attempt += 1) {
    for (const stage of ['a', 'b', 'c']) once.tell(stage, `the log is away, tried for ${attempt}.5 s`)
  }
  expect(said).toEqual(['the log is away, tried for 1.5 s'])
})

test('its end is told once, by the last that had it, and it is told again when it comes back', () => {
  const { said, once } = told()
  once.tell('a', 'no space left', 'a: no space left; trying again')
  once.tell('b', 'no space left')
  once.over('a')
  once.over('a')
  expect(said).toEqual(['a: no space left; trying again'])
  once.over('b')
  once.tell('a', 'no space left')
  expect(said).toEqual(['a: no space left; trying again', 'b goes on', 'no space left'])
})

test('another trouble of the same stage is told, and takes the place of the first', () => {
  const { said, once } = told()
  for (const cause of ['full', 'away', 'away', 'full']) once.tell('a', cause)
  once.over('a')
  expect(said).toEqual(['full', 'away', 'full', 'a goes on'])
})
