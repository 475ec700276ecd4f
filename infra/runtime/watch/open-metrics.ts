/** The part of the OpenMetrics 1.0 text format that is used here: counters and gauges with labels. */

export const OPEN_METRICS_TYPE = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

export interface MetricFamily {
  /** Without `_total`; ends in its unit where it has one. */
  readonly name: string
  readonly type: 'counter' | 'gauge'
  readonly unit?: 'seconds' | 'bytes'
  readonly help: string
  readonly samples: readonly { readonly labels: Readonly<Record<string, string>>; readonly value: number }[]
}

export function openMetricsText(families: readonly MetricFamily[]): string {
  const lines: string[] = []
  for (const { name, type, unit, help, samples } of families) {
    lines.push(`# TYPE ${name} ${type}`)
    if (unit !== undefined) lines.push(`# UNIT ${name} ${unit}`)
    lines.push(`# HELP ${name} ${escaped(help)}`)
    for (const { labels, value } of samples) {
      const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escaped(text)}"`)
      const set = pairs.length === 0 ? '' : `{${pairs.join(',')}}`
      lines.push(`${name}${type === 'counter' ? '_total' : ''}${set} ${value}`)
    }
  }
  return `${lines.join('\n')}${lines.length === 0 ? '' : '\n'}# EOF\n`
}

const escaped = (text: string) => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"')
