import { OUTCOMES } from '../../schemas/events/tower.ts'
import type { Row } from '../ask-rows.ts'
import { textTable } from '../text/text-table.ts'
import { type Cluster, clusteredMean, describeInterval, type Interval, type IntervalMethod } from './interval.ts'
import { dot, FAINT, line, rect, short, svgDocument, text, ticks } from './svg.ts'

type Outcome = (typeof OUTCOMES)[number]

/** One line of the report: a policy evaluated on a task, dataset and split, under a reward. */
export interface RewardLine {
  readonly reward_name: string
  readonly task: string
  readonly dataset: string
  readonly split: string
  readonly policy: string
  readonly groups: number
  /** Scored completions; `failed` counts those that the scorer failed on, which have no reward and enter no mean. */
  readonly completions: number
  readonly failed: number
  readonly reward: Interval | null
  /** Over the completions that could be parsed: paper 1 §4.1 calls those legal. */
  readonly legal_share: number
  readonly legal_reward: Interval | null
  /** Share of each outcome among the completions that the scorer did not fail on. */
  readonly outcomes: Readonly<Partial<Record<Outcome, number>>>
}

export interface RewardReport {
  readonly interval: string
  readonly lines: readonly RewardLine[]
}

interface Cell {
  readonly key: readonly string[]
  readonly all: Cluster[]
  readonly legal: Cluster[]
  readonly counts: Map<Outcome, number>
  completions: number
  rewarded: number
}

function emptyCell(key: readonly string[]): Cell {
  return { key, all: [], legal: [], counts: new Map(), completions: 0, rewarded: 0 }
}

/** Builds the report from the rows of `reward_groups`. Memory: two numbers for each group. */
export async function rewardReport(
  rows: AsyncIterable<Row> | Iterable<Row>,
  method: IntervalMethod,
  seed: string,
): Promise<RewardReport> {
  const cells = new Map<string, Cell>()
  for await (const row of rows) {
    const key = [row.reward_name, row.task, row.dataset, row.split, row.policy].map((part) => String(part ?? '?'))
    const name = JSON.stringify(key)
    const cell = cells.get(name) ?? emptyCell(key)
    cells.set(name, cell)
    cell.all.push({ total: Number(row.reward_sum), count: Number(row.rewarded) })
    cell.legal.push({ total: Number(row.legal_sum), count: Number(row.legal) })
    cell.completions += Number(row.completions)
    cell.rewarded += Number(row.rewarded)
    for (const outcome of OUTCOMES)
      cell.counts.set(outcome, (cell.counts.get(outcome) ?? 0) + Number(row[outcome] ?? 0))
  }
  return { interval: describeInterval(method, seed), lines: [...cells.values()].map(lineOf) }

  function lineOf({ key, all, legal, counts, completions, rewarded }: Cell): RewardLine {
    const [reward_name, task, dataset, split, policy] = key as [string, string, string, string, string]
    const outcomes = Object.fromEntries(
      [...counts].filter(([, count]) => count > 0).map(([outcome, count]) => [outcome, count / rewarded]),
    )
    return {
      reward_name,
      task,
      dataset,
      split,
      policy,
      groups: all.length,
      completions,
      failed: completions - rewarded,
      reward: clusteredMean(all, method, [seed, ...key]) ?? null,
      legal_share: rewarded === 0 ? 0 : legal.reduce((sum, { count }) => sum + count, 0) / rewarded,
      legal_reward: clusteredMean(legal, method, [seed, ...key, 'legal']) ?? null,
      outcomes,
    }
  }
}

const evaluatedOn = ({ task, dataset, split }: RewardLine) => `${task} ${dataset} ${split}`

/** Tables as in paper 1 A.2, a row per evaluation set and a column per policy; then each cell in full. */
export function rewardText(report: RewardReport): string {
  if (report.lines.length === 0)
    return 'nothing is scored yet: ./plumbline generate tower …, then ./plumbline run --until-idle\n'
  const names = [...new Set(report.lines.map(({ reward_name }) => reward_name))]
  const parts = names.map((name) => {
    const lines = report.lines.filter(({ reward_name }) => reward_name === name)
    const policies = [...new Set(lines.map(({ policy }) => policy))]
    const places = [...new Set(lines.map(evaluatedOn))]
    const matrix = places.map((place) => [
      place,
      ...policies.map((policy) => {
        const found = lines.find((line) => line.policy === policy && evaluatedOn(line) === place)
        return found?.reward ? found.reward.mean.toFixed(3) : ''
      }),
    ])
    const columns = [{ name: 'evaluated on' }, ...policies.map((policy) => ({ name: policy, right: true }))]
    return `mean reward (${name})\n\n${textTable(columns, matrix)}\n${detailText(lines)}`
  })
  return `${parts.join('\n')}\n${report.interval}; legal: completions that could be parsed\n`
}

function detailText(lines: readonly RewardLine[]): string {
  const present = OUTCOMES.filter((outcome) => lines.some(({ outcomes }) => outcomes[outcome] !== undefined))
  const right = (name: string) => ({ name, right: true })
  return textTable(
    [
      { name: 'evaluated on' },
      { name: 'policy' },
      right('groups'),
      right('n'),
      right('failed'),
      right('mean'),
      right('95 %'),
      right('legal'),
      right('legal mean'),
      right('95 %'),
      ...present.map(right),
    ],
    lines.map((line) => [
      evaluatedOn(line),
      line.policy,
      String(line.groups),
      String(line.completions),
      String(line.failed),
      fixed(line.reward?.mean),
      between(line.reward),
      percent(line.legal_share),
      fixed(line.legal_reward?.mean),
      between(line.legal_reward),
      ...present.map((outcome) => (line.outcomes[outcome] === undefined ? '' : percent(line.outcomes[outcome]))),
    ]),
  )
}

const fixed = (value: number | null | undefined) => (value === null || value === undefined ? '–' : value.toFixed(3))
const between = (interval: Interval | null) =>
  interval === null || interval.low === null ? '–' : `${fixed(interval.low)} … ${fixed(interval.high)}`
const percent = (share: number | undefined) => `${(100 * (share ?? 0)).toFixed(1)} %`

/** From the worst to the best, so that a bar reads from left to right. */
const COLOURS: Readonly<Record<Outcome, string>> = {
  non_parseable: '#6e7781',
  below_floor: '#5b2333',
  inside_tower: '#a63a50',
  unstable: '#e8a33d',
  stable: '#2a9d6f',
  incorrect: '#e8a33d',
  correct: '#2a9d6f',
}
const ORDER: readonly Outcome[] = [
  'non_parseable',
  'below_floor',
  'inside_tower',
  'unstable',
  'incorrect',
  'stable',
  'correct',
]

const LABEL = 330
const BAR = 260
const AXIS = 330
const ROW = 26
const TOP = 70
const GAP = 24

/** A row per line: outcome shares as a bar, the mean with its interval, and the legal-only mean as a hollow mark. */
export function rewardSvg(report: RewardReport): string {
  const values = report.lines.flatMap(({ reward, legal_reward }) =>
    [reward, legal_reward].flatMap((interval) =>
      interval === null ? [] : [interval.mean, interval.low ?? interval.mean, interval.high ?? interval.mean],
    ),
  )
  const low = Math.min(0, ...values)
  const high = Math.max(1, ...values)
  const start = LABEL + BAR + GAP
  const xOf = (value: number) => start + ((value - low) / (high - low)) * AXIS
  const several = new Set(report.lines.map(({ reward_name }) => reward_name)).size > 1
  const bottom = TOP + report.lines.length * ROW
  const present = ORDER.filter((outcome) => report.lines.some(({ outcomes }) => outcomes[outcome] !== undefined))
  const grid = ticks(low, high, 6).flatMap((value) => [
    line(xOf(value), TOP - 6, xOf(value), bottom, value === 0 ? '#8c959f' : FAINT),
    text(xOf(value), TOP - 12, short(value), { anchor: 'middle', size: 10 }),
  ])
  const rows = report.lines.flatMap((entry, index) => {
    const y = TOP + index * ROW + ROW / 2
    const name = `${evaluatedOn(entry)} · ${entry.policy}${several ? ` · ${entry.reward_name}` : ''}`
    return [
      text(LABEL - 8, y + 4, name.length > 58 ? `${name.slice(0, 57)}…` : name, { anchor: 'end', size: 11 }),
      ...bars(entry, y),
      ...mark(entry.legal_reward, y + 5, '#ffffff'),
      ...mark(entry.reward, y - 3, '#1f5fbf'),
    ]
  })
  function mark(interval: Interval | null, y: number, fill: string): string[] {
    if (interval === null) return []
    const { mean, low: from, high: to } = interval
    return [
      ...(from === null || to === null ? [] : [line(xOf(from), y, xOf(to), y, '#1f5fbf', 1.5)]),
      dot(xOf(mean), y, 3.5, fill, '#1f5fbf'),
    ]
  }
  const legend = present.flatMap((outcome, index) => [
    rect(LABEL + index * 105, bottom + 16, 10, 10, COLOURS[outcome]),
    text(LABEL + 14 + index * 105, bottom + 25, outcome, { size: 11 }),
  ])
  return svgDocument(start + AXIS + 24, bottom + 66, 'Rewards by task, dataset, split and policy', [
    text(16, 24, 'Rewards by task, dataset, split and policy', { size: 15, bold: true }),
    text(LABEL, TOP - 12, 'outcomes', { size: 11 }),
    text(start, 40, 'mean reward (filled), of legal completions only (hollow)', { size: 11 }),
    ...grid,
    ...rows,
    ...legend,
    text(LABEL, bottom + 50, report.interval, { size: 11, fill: '#57606a' }),
  ])
}

function bars({ outcomes }: RewardLine, y: number): string[] {
  let x = LABEL
  return ORDER.flatMap((outcome) => {
    const share = outcomes[outcome]
    if (share === undefined) return []
    const bar = rect(x, y - 8, share * BAR, 16, COLOURS[outcome], `${outcome} ${percent(share)}`)
    x += share * BAR
    return [bar]
  })
}
