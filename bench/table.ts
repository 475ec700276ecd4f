import type { Result } from './pairs.ts'

/** A table in Markdown, as in docs/performance.md. */
export function tableOf(results: readonly Result[]): string {
  const head = ['what', 'compared with', 'median', 'least … most', 'goal', 'reached', 'per second']
  const rows = results.map((result) => [
    result.what,
    result.against ?? '–',
    shown(result, result.median),
    `${shown(result, result.low)} … ${shown(result, result.high)}`,
    result.goal === null ? '–' : `${result.seconds === null ? '≤' : '≥'} ${shown(result, result.goal)}`,
    result.reached === null ? '–' : result.reached ? 'yes' : 'no',
    rates(result),
  ])
  const lines = [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`)
  return `${lines.join('\n')}\n`
}

function shown({ against }: Result, value: number): string {
  return against === null ? count(value) : value.toFixed(2)
}

function rates({ rate, ceiling_rate, unit, seconds }: Result): string {
  if (seconds === null) return unit
  const ceiling = ceiling_rate === null ? '' : ` against ${count(ceiling_rate)}`
  return `${count(rate)}${ceiling} ${unit}${seconds === 'cpu' ? ' per CPU-second' : ''}`
}

function count(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: value < 10 ? 2 : 0 })
}
