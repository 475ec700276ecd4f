import { REACH, STEP } from '../../sinks/duckdb/views/tower-reports.ts'
import type { Row } from '../ask-rows.ts'
import { textTable } from '../text/text-table.ts'
import { dot, FAINT, heatmap, line, short, svgDocument, text, ticks, viridis } from './svg.ts'

/** The answers of `comparisonSql`. */
type ComparisonRows = Readonly<Record<'tasks' | 'outcomes' | 'distances' | 'advantages', readonly Row[]>>

export interface Comparison {
  readonly reward_name: string
  readonly live_reward_name: string
  readonly tasks: readonly {
    readonly task: string
    readonly groups: number
    readonly completions: number
    /** Mean over groups of Spearman's ρ; null where no group varies under both. */
    readonly rank_correlation: number | null
    readonly same_best: number
    readonly advantage_flips: number
    readonly zero_variance_groups: number
    readonly live_zero_variance_groups: number
  }[]
  readonly outcomes: readonly {
    readonly task: string
    readonly outcome: string
    readonly n: number
    readonly live_reward: number
    readonly reward: number
    readonly live_advantage: number
    readonly advantage: number
  }[]
}

export function comparisonOf(name: string, { tasks, outcomes }: ComparisonRows): Comparison {
  return {
    reward_name: name,
    live_reward_name: String(tasks[0]?.live ?? ''),
    tasks: tasks.map((row) => ({
      task: String(row.task),
      groups: Number(row.groups),
      completions: Number(row.completions),
      rank_correlation: row.rank_correlation === null ? null : Number(row.rank_correlation),
      same_best: Number(row.same_best),
      advantage_flips: Number(row.flips) / Number(row.completions),
      zero_variance_groups: Number(row.flat),
      live_zero_variance_groups: Number(row.live_flat),
    })),
    outcomes: outcomes.map((row) => ({
      task: String(row.task),
      outcome: String(row.outcome),
      n: Number(row.n),
      live_reward: Number(row.live_reward),
      reward: Number(row.reward),
      live_advantage: Number(row.live_advantage),
      advantage: Number(row.advantage),
    })),
  }
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`

export function comparisonText({ reward_name, live_reward_name, tasks, outcomes }: Comparison): string {
  const right = (name: string) => ({ name, right: true })
  const agreement = textTable(
    [
      { name: 'task' },
      right('groups'),
      right('n'),
      right('rank correlation'),
      right('same best'),
      right('advantage flips'),
      right('flat groups'),
      right(`flat, ${live_reward_name}`),
    ],
    tasks.map((task) => [
      task.task,
      String(task.groups),
      String(task.completions),
      task.rank_correlation === null ? '–' : task.rank_correlation.toFixed(3),
      percent(task.same_best),
      percent(task.advantage_flips),
      String(task.zero_variance_groups),
      String(task.live_zero_variance_groups),
    ]),
  )
  const means = textTable(
    [
      { name: 'task' },
      { name: 'outcome' },
      right('n'),
      right(live_reward_name),
      right(reward_name),
      right(`advantage, ${live_reward_name}`),
      right(`advantage, ${reward_name}`),
    ],
    outcomes.map((row) => [
      row.task,
      row.outcome,
      String(row.n),
      ...[row.live_reward, row.reward, row.live_advantage, row.advantage].map((value) => value.toFixed(3)),
    ]),
  )
  return `${reward_name} against ${live_reward_name}\n\n${agreement}\n${means}`
}

const PANEL = { width: 380, height: 240 }
const SQUARE = 240
const LEFT = 60
const TOP = 84
const STRIDE = PANEL.height + 72
const LIVE = '#8c959f'
const LIVE_INK = '#57606a'
const AGAIN = '#1f5fbf'

/** For each task: both rewards over distance, and the advantages of one against those of the other. */
export function comparisonSvg(
  { reward_name, live_reward_name, tasks }: Comparison,
  { distances, advantages }: Pick<ComparisonRows, 'distances' | 'advantages'>,
): string {
  const squareLeft = LEFT + PANEL.width + 90
  const parts = tasks.flatMap(({ task }, index) => {
    const top = TOP + index * STRIDE
    return [
      ...distancePanel(
        task,
        distances.filter((row) => row.task === task),
        top,
      ),
      ...advantagePanel(
        advantages.filter((row) => row.task === task),
        squareLeft,
        top,
        [live_reward_name, reward_name],
      ),
    ]
  })
  return svgDocument(
    squareLeft + SQUARE + 30,
    TOP + tasks.length * STRIDE - 10,
    `Rewards ${reward_name} and ${live_reward_name}`,
    [
      text(16, 24, `${reward_name} against ${live_reward_name}`, { size: 15, bold: true }),
      dot(LEFT + 4, 46, 4, LIVE),
      text(LEFT + 14, 50, `${live_reward_name} (left axis)`),
      dot(LEFT + 164, 46, 4, AGAIN),
      text(LEFT + 174, 50, `${reward_name} (right axis)`),
      ...parts,
    ],
  )
}

/** Each reward has its own axis, as their scales may differ. A task without distances is drawn by outcome. */
function distancePanel(task: string, all: readonly Row[], top: number): string[] {
  const placed = all.some((row) => row.distance !== null)
  const rows = all.filter((row) => !placed || row.distance !== null)
  const outcomes = [...new Set(rows.map((row) => String(row.outcome)))]
  const far = Math.max(0.1, ...rows.map((row) => Number(row.distance ?? 0)))
  const xOf = (row: Row) =>
    placed
      ? LEFT + (Number(row.distance ?? 0) / far) * PANEL.width
      : LEFT + ((outcomes.indexOf(String(row.outcome)) + 0.5) / outcomes.length) * PANEL.width
  const axis = (column: 'live_reward' | 'reward') => {
    const rewards = rows.map((row) => Number(row[column]))
    const [low, high] = [Math.min(0, ...rewards), Math.max(0, ...rewards)]
    const span = high - low || 1
    const yOf = (reward: number) => top + PANEL.height - ((reward - low) / span) * (PANEL.height - 16) - 8
    return { yOf, ticks: ticks(low, high, 5) }
  }
  const live = axis('live_reward')
  const again = axis('reward')
  const end = LEFT + PANEL.width
  return [
    text(
      LEFT,
      top - 8,
      placed ? `${task}: reward over distance from the best placement, world units` : `${task}: reward by outcome`,
      { size: 11 },
    ),
    ...live.ticks.flatMap((value) => [
      line(LEFT, live.yOf(value), end, live.yOf(value), FAINT),
      text(LEFT - 8, live.yOf(value) + 4, short(value), { anchor: 'end', size: 10, fill: LIVE_INK }),
    ]),
    ...again.ticks.map((value) => text(end + 8, again.yOf(value) + 4, short(value), { size: 10, fill: AGAIN })),
    ...(placed
      ? ticks(0, far, 6).map((value) =>
          text(LEFT + (value / far) * PANEL.width, top + PANEL.height + 14, short(value), {
            anchor: 'middle',
            size: 10,
          }),
        )
      : outcomes.map((outcome, at) =>
          text(LEFT + ((at + 0.5) / outcomes.length) * PANEL.width, top + PANEL.height + 14, outcome, {
            anchor: 'middle',
            size: 10,
          }),
        )),
    ...rows.flatMap((row) => [
      dot(xOf(row) - (placed ? 0 : 6), live.yOf(Number(row.live_reward)), placed ? 2 : 4, LIVE),
      dot(xOf(row) + (placed ? 0 : 6), again.yOf(Number(row.reward)), placed ? 2 : 4, AGAIN),
    ]),
  ]
}

function advantagePanel(
  rows: readonly Row[],
  left: number,
  top: number,
  [live, again]: readonly [string, string],
): string[] {
  const cells = (2 * REACH) / STEP + 1
  const counts = new Map(rows.map((row) => [`${Number(row.live)}/${Number(row.again)}`, Number(row.n)]))
  const most = Math.max(1, ...counts.values())
  const colourAt = (column: number, row: number) => {
    const count = counts.get(`${column * STEP - REACH}/${REACH - row * STEP}`) ?? 0
    return count === 0 ? '#ffffff' : viridis(Math.log1p(count) / Math.log1p(most))
  }
  const at = (value: number) => ((value + REACH + STEP / 2) / (2 * REACH + STEP)) * SQUARE
  return [
    text(left, top - 8, 'advantages: rows of a group, brighter is more', { size: 11 }),
    heatmap({ x: left, y: top, width: SQUARE, height: SQUARE }, cells, cells, colourAt),
    line(left + at(-REACH), top + SQUARE - at(-REACH), left + at(REACH), top + SQUARE - at(REACH), FAINT),
    line(left + at(0), top, left + at(0), top + SQUARE, FAINT),
    line(left, top + SQUARE - at(0), left + SQUARE, top + SQUARE - at(0), FAINT),
    ...ticks(-REACH, REACH, 4).flatMap((value) => [
      text(left + at(value), top + SQUARE + 14, short(value), { anchor: 'middle', size: 10 }),
      text(left - 5, top + SQUARE - at(value) + 4, short(value), { anchor: 'end', size: 10 }),
    ]),
    text(left + SQUARE / 2, top + SQUARE + 30, live, { anchor: 'middle', size: 11 }),
    text(left - 30, top + SQUARE / 2, again, { anchor: 'middle', size: 11, turn: -90 }),
  ]
}
