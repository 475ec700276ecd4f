import type { Row } from '../ask-rows.ts'
import { textTable } from '../text/text-table.ts'
import { rect, svgDocument, text } from './svg.ts'

export interface FunnelReport {
  readonly sampled: number
  readonly holds: boolean
  readonly fates: readonly {
    readonly fate: string
    readonly completions: number
    /** Share of the sampled completions; null if there are none, and for `ahead`, which is outside the identity. */
    readonly share: number | null
    readonly about: string
  }[]
}

export function funnelReport(rows: readonly Row[], check: Row): FunnelReport {
  const sampled = Number(check.sampled)
  return {
    sampled,
    holds: check.holds === true,
    fates: rows.map((row) => ({
      fate: String(row.fate),
      completions: Number(row.completions),
      share: sampled === 0 || row.fate === 'ahead' ? null : Number(row.completions) / sampled,
      about: String(row.about),
    })),
  }
}

const percent = (share: number | null) => (share === null ? '–' : `${(100 * share).toFixed(1)} %`)
const verdict = ({ sampled, holds }: FunnelReport) =>
  `${sampled} sampled; ${holds ? 'each has exactly one fate' : 'the fates do NOT add up: see from funnel_check'}`

export function funnelText(report: FunnelReport): string {
  const right = true
  const rows = report.fates.map(({ fate, completions, share, about }) => [
    fate,
    String(completions),
    percent(share),
    about,
  ])
  const columns = [
    { name: 'fate' },
    { name: 'completions', right },
    { name: 'share', right },
    { name: 'what it means' },
  ]
  return `${textTable(columns, rows)}\n${verdict(report)}\n`
}

const LABEL = 150
const BAR = 360
const ROW = 24
const TOP = 56

export function funnelSvg(report: FunnelReport): string {
  const most = Math.max(1, ...report.fates.map(({ completions }) => completions))
  const rows = report.fates.flatMap(({ fate, completions, share, about }, index) => {
    const y = TOP + index * ROW
    const width = (completions / most) * BAR
    const good = fate === 'formed' ? '#2a9d6f' : fate === 'lost' ? '#c62b3f' : '#8c959f'
    return [
      text(LABEL - 8, y + 14, fate, { anchor: 'end' }),
      rect(LABEL, y + 3, width, ROW - 8, good, about),
      text(LABEL + width + 6, y + 14, completions === 0 ? '0' : `${completions} (${percent(share)})`, { size: 11 }),
    ]
  })
  return svgDocument(
    LABEL + BAR + 130,
    TOP + report.fates.length * ROW + 34,
    'What became of every sampled completion',
    [
      text(16, 24, 'What became of every sampled completion', { size: 15, bold: true }),
      text(16, 42, verdict(report), { size: 11, fill: '#57606a' }),
      ...rows,
    ],
  )
}
