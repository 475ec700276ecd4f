import { expect, test } from 'vitest'
import { funnelReport, funnelSvg, funnelText } from './funnel.ts'
import { rewardReport, rewardSvg, rewardText } from './rewards.ts'

const group = (group_id: string, policy: string, rewards: readonly (number | null)[]) => {
  const given = rewards.filter((reward) => reward !== null)
  const legal = given.filter((reward) => reward !== -5)
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)
  return {
    reward_name: 'paper',
    task: 'x_only',
    dataset: 'side_block',
    split: 'test_iid',
    policy,
    purpose: 'eval',
    group_id,
    completions: String(rewards.length),
    rewarded: String(given.length),
    reward_sum: sum(given),
    legal: String(legal.length),
    legal_sum: sum(legal),
    non_parseable: String(given.length - legal.length),
    stable: String(legal.filter((reward) => reward > 0).length),
    unstable: String(legal.filter((reward) => reward <= 0).length),
  }
}
const ROWS = [
  group('a', 'model-1', [20, -5, -1, null]),
  group('b', 'model-1', [18, -5]),
  group('c', 'model-1', [10, -1]),
  group('a', 'constant(<answer>0</answer>)', [-1]),
]

test('the mean is over all completions, the legal one leaves out what could not be parsed, a failed scorer is in neither', async () => {
  const { lines } = await rewardReport(ROWS, 't', '1')
  expect(lines).toHaveLength(2)
  expect(lines[0]).toMatchObject({ policy: 'model-1', groups: 3, completions: 8, failed: 1 })
  expect(lines[0]?.reward?.mean).toBeCloseTo(36 / 7, 12)
  expect(lines[0]?.legal_reward?.mean).toBeCloseTo(46 / 5, 12)
  expect(lines[0]?.legal_share).toBeCloseTo(5 / 7, 12)
  expect(lines[0]?.outcomes).toEqual({ non_parseable: 2 / 7, stable: 3 / 7, unstable: 2 / 7 })
  expect(lines[1]?.reward).toEqual({ mean: -1, low: null, high: null })
})

test('as text: a table as in paper 1 A.2, then each cell in full', async () => {
  expect(rewardText(await rewardReport(ROWS, 't', '1'))).toMatchInlineSnapshot(`
    "mean reward (paper)

    evaluated on                model-1  constant(<answer>0</answer>)
    ──────────────────────────  ───────  ────────────────────────────
    x_only side_block test_iid    5.143                        -1.000

    evaluated on                policy                        groups  n  failed    mean           95 %    legal  legal mean             95 %  non_parseable  unstable  stable
    ──────────────────────────  ────────────────────────────  ──────  ─  ──────  ──────  ─────────────  ───────  ──────────  ───────────────  ─────────────  ────────  ──────
    x_only side_block test_iid  model-1                            3  8       1   5.143  2.639 … 7.647   71.4 %       9.200  -4.385 … 22.785         28.6 %    28.6 %  42.9 %
    x_only side_block test_iid  constant(<answer>0</answer>)       1  1       0  -1.000              –  100.0 %      -1.000                –                  100.0 %

    95 % t interval, clustered by group; legal: completions that could be parsed
    "
  `)
})

test('as SVG: what is in angle brackets stays text, and every outcome has its share', async () => {
  const svg = rewardSvg(await rewardReport(ROWS, 'bootstrap', '1'))
  expect(svg).toContain('constant(&lt;answer&gt;0&lt;/answer&gt;)')
  expect(svg).toContain('non_parseable 28.6 %')
  expect(svg).toContain('bootstrap percentile interval, 2000 resamples of whole groups, seed 1')
})

test('the funnel as text and as SVG; fates that do not add up are reported', () => {
  const rows = [
    { fate: 'formed', completions: '3', about: 'in a formed group' },
    { fate: 'lost', completions: '1', about: 'has no fate' },
    { fate: 'ahead', completions: '2', about: 'not loaded' },
  ]
  const report = funnelReport(rows, { sampled: '4', holds: false })
  expect(report.fates.map(({ share }) => share)).toEqual([0.75, 0.25, null])
  expect(funnelText(report)).toContain('do NOT add up')
  expect(funnelSvg(report)).toContain('3 (75.0 %)')
})
