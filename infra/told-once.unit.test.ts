import { expect, test } from 'vitest'
import { ToldOnce } from './told-once.ts'

function told(): { reported: string[]; once: ToldOnce } {
  const reported: string[] = []
  return { reported, once: new ToldOnce((message) => reported.push(message)) }
}

test('a problem is reported once, however often and in however many stages it occurs, numbers aside', () => {
  const { reported, once } = told()
  for (let attempt = 1; attempt <= 18; attempt += 1) {
    for (const stage of ['a', 'b', 'c']) once.tell(stage, `the log is away, tried for ${attempt}.5 s`)
  }
  expect(reported).toEqual(['the log is away, tried for 1.5 s'])
})

test('its end is reported once, by the last stage that had it, and a new occurrence is reported again', () => {
  const { reported, once } = told()
  once.tell('a', 'no space left', 'a: no space left; trying again')
  once.tell('b', 'no space left')
  once.over('a')
  once.over('a')
  expect(reported).toEqual(['a: no space left; trying again'])
  once.over('b')
  once.tell('a', 'no space left')
  expect(reported).toEqual(['a: no space left; trying again', 'b goes on', 'no space left'])
})

test('another problem of the same stage is reported, and replaces the first', () => {
  const { reported, once } = told()
  for (const cause of ['full', 'away', 'away', 'full']) once.tell('a', cause)
  once.over('a')
  expect(reported).toEqual(['full', 'away', 'full', 'a goes on'])
})
