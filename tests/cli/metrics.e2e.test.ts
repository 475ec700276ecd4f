import { expect, test } from 'vitest'
import { type MetricFamily, OPEN_METRICS_TYPE, openMetricsText } from '../../infra/runtime/open-metrics.ts'
import { eventually, plumbline, plumblineOk, sharedFolder, start } from './plumbline.ts'

interface Sample {
  readonly name: string
  readonly labels: Record<string, string>
  readonly value: number
}

/**
 * Reads the OpenMetrics 1.0 text format as strictly as its ABNF: metadata before samples, families not interleaved,
 * each sample once, a counter's name in _total, a unit at the end of the name, `# EOF` and nothing after it.
 */
function parseOpenMetrics(text: string): Sample[] {
  expect(text.endsWith('\n# EOF\n') || text === '# EOF\n').toBe(true)
  const families = new Map<string, { type?: string; unit?: string; help?: string; sampled: boolean }>()
  const samples: Sample[] = []
  const seen = new Set<string>()
  let current = ''
  for (const line of text.slice(0, -'# EOF\n'.length).split('\n').slice(0, -1)) {
    const metadata = /^# (TYPE|UNIT|HELP) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$/.exec(line)
    if (metadata !== null) {
      const [, kind = '', name = '', value = ''] = metadata
      if (name !== current) expect(families.has(name), `${name} is interleaved`).toBe(false)
      current = name
      const family = families.get(name) ?? { sampled: false }
      families.set(name, family)
      expect(family.sampled, `${line} after a sample`).toBe(false)
      const field = kind.toLowerCase() as 'type' | 'unit' | 'help'
      expect(family[field], `${line} twice`).toBeUndefined()
      family[field] = value
      if (kind === 'UNIT') expect(name.endsWith(`_${value}`), line).toBe(true)
      continue
    }
    const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|NaN|[+-]Inf)$/.exec(line)
    expect(sample, `not a line of the format: ${line}`).not.toBeNull()
    const [, name = '', set = '', value = ''] = sample as RegExpExecArray
    const family = families.get(current)
    expect(name, line).toBe(family?.type === 'counter' ? `${current}_total` : current)
    if (family !== undefined) family.sampled = true
    const labels: Record<string, string> = {}
    let rest = set
    while (rest !== '') {
      const [all = '', label = '', text = ''] =
        /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,(?=.)|$)/.exec(rest) ?? []
      expect(all, `labels of ${line}`).not.toBe('')
      expect(label in labels, line).toBe(false)
      labels[label] = text.replaceAll(/\\(.)/g, (_, one) => (one === 'n' ? '\n' : one))
      rest = rest.slice(all.length)
    }
    const identity = JSON.stringify([name, Object.entries(labels).sort()])
    expect(seen.has(identity), `${line} twice`).toBe(false)
    seen.add(identity)
    if (family?.type === 'counter') expect(Number(value)).toBeGreaterThanOrEqual(0)
    samples.push({ name, labels, value: Number(value) })
  }
  for (const [name, { type }] of families) expect(['counter', 'gauge'], name).toContain(type)
  return samples
}

test('labels of any text survive the format', () => {
  const labels = { stage: 'a "quoted" \\ back\nslash, {comma}' }
  const family: MetricFamily = {
    name: 'x',
    type: 'gauge',
    help: 'with \\ and\na new line',
    samples: [{ labels, value: 1e-7 }],
  }
  expect(parseOpenMetrics(openMetricsText([family]))).toEqual([{ name: 'x', labels, value: 1e-7 }])
  expect(openMetricsText([])).toBe('# EOF\n')
})

test('a run says in OpenMetrics what each stage has done, how far it is behind, and that it is well', async () => {
  const cwd = await sharedFolder()
  const scenes = ['--scenes', '8', '--seed', '1', '--group-size', '2']
  await plumblineOk(['generate', 'tower', '--dataset', 'top_block', '--task', 'x_only', ...scenes], { cwd })
  const running = start(['run', '--metrics', '127.0.0.1:0'], { cwd })
  const url = await eventually(() => /metrics at (http:\/\/127\.0\.0\.1:\d+)\/metrics/.exec(running.stderr())?.[1])
  const scrape = async () => {
    const response = await fetch(`${url}/metrics`)
    expect([response.status, response.headers.get('content-type')]).toEqual([200, OPEN_METRICS_TYPE])
    return parseOpenMetrics(await response.text())
  }
  const of = (samples: Sample[], name: string, stage: string) =>
    samples.find((sample) => sample.name === `plumbline_${name}` && sample.labels.stage === stage)?.value
  const samples = await eventually(async () => {
    const now = await scrape()
    return of(now, 'outputs_total', 'form-groups') === 8 && of(now, 'lag_messages', 'form-groups') === 0
      ? now
      : undefined
  })
  expect(of(samples, 'records_total', 'sample-completions')).toBeGreaterThanOrEqual(8)
  expect(of(samples, 'commits_total', 'form-groups')).toBeGreaterThan(0)
  expect(of(samples, 'dead_letters_total', 'form-groups')).toBe(0)
  expect(of(samples, 'lag_messages', 'duckdb')).toBeDefined()
  const restores = samples.filter(({ name }) => name === 'plumbline_restore_seconds')
  expect(restores).toHaveLength(3 * 4)
  expect(restores.every(({ value }) => value > 0 && value < 60)).toBe(true)
  const health = await fetch(`${url}/healthz`)
  expect([health.status, await health.json()]).toEqual([200, { status: 'ok', stages: {} }])
  expect((await fetch(`${url}/metrics`, { method: 'POST' })).status).toBe(405)
  expect((await fetch(`${url}/`)).status).toBe(404)
  const taken = await plumbline(['run', '--no-sink', '--metrics', new URL(url).host], { cwd })
  expect([taken.code, taken.stderr]).toEqual([2, expect.stringContaining('EADDRINUSE')])
  running.child.kill('SIGTERM')
  expect((await running.ended).code).toBe(0)
})
