import { expect, test } from 'vitest'
import { pythonTests } from './python.ts'
import { type TrlRunOptions, trlRun } from './trl-run.ts'

/** The small versions of `npm run trl -- --steps 50`. */

test('the tests of plumbline.torch and plumbline.trl pass', async () => {
  expect(await pythonTests()).toMatch(/^Ran \d\d+ tests[\s\S]*\nOK\n$/m)
})

const RUNS: readonly TrlRunOptions[] = [
  { variant: 'gspo', steps: 6, save: 2, die_after: 3 },
  { variant: 'reused', steps: 8, steps_per_round: 2, save: 2, die_after: 5, lora: true },
]

test.each(RUNS)(
  'a TRL trainer ($variant) that is killed and resumed has the weights of one left alone, and every group is durable once',
  async (options) => {
    const { formed, alone, before, resumed, ledger, times_durable, verify } = await trlRun(options)
    expect(before.at(-1)).toBe(options.die_after)
    expect(resumed).toEqual({ ...alone, epoch: 2 })
    expect(alone.steps).toBe(options.steps)
    expect(ledger).toEqual([{ state: 'durable', rows: formed, groups: formed }])
    expect(times_durable).toEqual([{ times: 1, groups: formed }])
    expect(verify).toMatch(/^verify: passed/)
  },
)
