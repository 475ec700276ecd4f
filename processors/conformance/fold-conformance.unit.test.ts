import { describe, expect, test } from 'vitest'
import { checkPromise, foldConformance } from './fold-conformance.ts'
import { PLANTED_BUGS, totals } from './planted-bugs.ts'
import { PROMISES } from './promises.ts'

const planted = async () => await import('./planted-bugs.ts')

foldConformance(totals(), { load: async () => (await planted()).totals() })

describe('the suite names the promise that a fold breaks', () => {
  test.each(PLANTED_BUGS.map(({ bug, breaks, message }) => [bug, breaks, message] as const))(
    'a fold that %s: %s',
    async (bug, breaks, message) => {
      const promised = PROMISES.find(({ name }) => name === breaks)
      if (promised === undefined) throw new Error(`no promise is called "${breaks}"`)
      const load = async () => {
        const found = (await planted()).PLANTED_BUGS.find((one) => one.bug === bug)
        if (found === undefined) throw new Error(`no planted bug is called "${bug}"`)
        return found.fold()
      }
      const failure = checkPromise(promised, { load })
      await expect(failure).rejects.toThrow(`total-amounts: ${breaks}: `)
      await expect(failure).rejects.toThrow(message)
    },
  )
})

test('each promise is broken by a planted bug', () => {
  expect(new Set(PLANTED_BUGS.map(({ breaks }) => breaks))).toEqual(new Set(PROMISES.map(({ name }) => name)))
})
