import { readFileSync } from 'node:fs'
import type { Sample } from './open-metrics.ts'

/** Reads the rules of docs/runbook/alerts.yaml and evaluates their expressions over scrapes. */

export interface AlertRule {
  readonly alert: string
  readonly expr: string
  readonly runbook: string
  readonly conditions: readonly Condition[]
}

/** `name{label="value"} > 0`, or `increase(name[10m]) > 0`. */
interface Condition {
  readonly over: 'last' | 'increase' | 'deriv'
  readonly metric: string
  readonly matchers: readonly { readonly label: string; readonly equal: boolean; readonly value: string }[]
  readonly is: '==' | '>'
  readonly bound: number
}

/** @throws Error for a rule not written like the others: this parses neither YAML nor PromQL in general */
export function alertRules(): AlertRule[] {
  const text = readFileSync(new URL('../docs/runbook/alerts.yaml', import.meta.url), 'utf8')
  const [, ...blocks] = text.split(/^ {6}- alert: /m)
  return blocks.map((block) => {
    const rule =
      /^(\w+)\n {8}expr: (.+)\n {8}for: \d+m\n {8}labels: \{ severity: (?:page|warn) \}\n {8}annotations:\n {10}summary: "[^"]+"\n {10}runbook: (\S+)\n$/.exec(
        block,
      )
    if (rule === null) throw new Error(`alerts.yaml: not of the form of the other rules: ${block}`)
    const [, alert = '', expr = '', runbook = ''] = rule
    return { alert, expr, runbook, conditions: expr.split(' and ').map(conditionOf) }
  })
}

function conditionOf(text: string): Condition {
  const match =
    /^(?:(\w+)\((\w+)(?:\{(.*)\})?\[10m\]\)|(\w+)(?:\{(.*)\})?) (==|>) (\d+)$/.exec(text) ??
    raise(`alerts.yaml: expected METRIC{…} > N, increase(…[10m]) > N or deriv(…[10m]) > N, got ${text}`)
  const [, over = 'last', ranged, ranged_set, plain, plain_set, is, bound] = match
  if (over !== 'last' && over !== 'increase' && over !== 'deriv') raise(`alerts.yaml: ${over} is not known here`)
  const set = ranged_set ?? plain_set ?? ''
  const matchers = [...set.matchAll(/(\w+)(!?=)"([^"]*)"/g)].map(([, label = '', equal, value = '']) => ({
    label,
    equal: equal === '=',
    value,
  }))
  return {
    over: over as Condition['over'],
    metric: ranged ?? plain ?? '',
    matchers,
    is: is as Condition['is'],
    bound: Number(bound),
  }
}

function raise(message: string): never {
  throw new Error(message)
}

/** One scrape: its time and its samples; no samples if nothing answered. */
export interface Scrape {
  readonly at_ms: number
  readonly samples: readonly Sample[]
}

/**
 * The series (labels without the metric's name) for which all conditions of the rule hold over these scrapes, oldest
 * first. A condition tests the last value, the increase from first to last, or the slope of the least-squares line.
 */
export function firing(rule: AlertRule, scrapes: readonly Scrape[]): string[] {
  const [first = new Set<string>(), ...rest] = rule.conditions.map((condition) => holding(condition, scrapes))
  return [...first].filter((series) => rest.every((other) => other.has(series)))
}

function holding({ over, metric, matchers, is, bound }: Condition, scrapes: readonly Scrape[]): Set<string> {
  const points = new Map<string, { at_s: number; value: number }[]>()
  const last = new Set<string>()
  for (const [at, { at_ms, samples }] of scrapes.entries()) {
    for (const { name, labels, value } of samples) {
      if (name !== metric) continue
      if (!matchers.every(({ label, equal, value }) => ((labels[label] ?? '') === value) === equal)) continue
      const series = JSON.stringify(Object.entries(labels).sort())
      points.set(series, [...(points.get(series) ?? []), { at_s: at_ms / 1_000, value }])
      if (at === scrapes.length - 1) last.add(series)
    }
  }
  const found = new Set<string>()
  for (const [series, values] of points) {
    if (over === 'last' && !last.has(series)) continue
    const value = valueOver(over, values)
    if (value !== undefined && (is === '==' ? value === bound : value > bound)) found.add(series)
  }
  return found
}

function valueOver(over: Condition['over'], points: readonly { at_s: number; value: number }[]): number | undefined {
  const [first, final] = [points[0], points.at(-1)]
  if (first === undefined || final === undefined) return undefined
  if (over === 'last') return final.value
  if (points.length < 2) return undefined
  if (over === 'increase') return final.value - first.value
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const [at, value] = [mean(points.map(({ at_s }) => at_s)), mean(points.map((point) => point.value))]
  const squares = points.reduce((sum, { at_s }) => sum + (at_s - at) ** 2, 0)
  return points.reduce((sum, point) => sum + (point.at_s - at) * (point.value - value), 0) / squares
}
