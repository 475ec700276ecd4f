import { expect, test } from 'vitest'
import { ranges, StepTable } from './ledger-text.ts'

test('numbers that follow each other are one range, in whatever order they come, and a repeated one counts once', () => {
  expect(ranges([3, 1, 2, 9, 2])).toBe('1–3, 9')
  expect(ranges([])).toBe('')
})

test('of very many ranges the first are shown', () => {
  expect(ranges(Array.from({ length: 20 }, (_, at) => 2 * at))).toBe('0, 2, 4, 6, 8, 10, 12, 14, …')
})

test('a table counts all steps and groups, and shows as many rows as it may', () => {
  const table = new StepTable(1, false)
  const group = { group_id: 'g', rank: 0, log_partition: 0, log_offset: 0 }
  for (const step of [1, 2]) {
    const of_run = { fate: 'contained', parent: null, consumer: 'lab', run: 'r1', epoch: 1 } as const
    table.add({ ...of_run, step, groups: [step, step + 1].map((sequence) => ({ ...group, sequence })) })
  }
  expect(
    table
      .text('it contains')
      .split('\n')
      .map((line) => line.trim()),
  ).toEqual([
    'it contains 4 groups in 2 steps:',
    '',
    expect.stringMatching(/^run +epoch +step +groups +sequence numbers$/),
    expect.stringMatching(/^─/),
    expect.stringMatching(/^lab\/r1 +1 +1 +2 +1–2$/),
    '… 1 more row; --limit shows them, --json all',
    '',
  ])
})
