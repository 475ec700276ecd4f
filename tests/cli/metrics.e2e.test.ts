import { expect, test } from 'vitest'
import { type MetricFamily, OPEN_METRICS_TYPE, openMetricsText } from '../../infra/runtime/watch/open-metrics.ts'
import { parseOpenMetrics, type Sample } from '../../testing/open-metrics.ts'
import { eventually, plumbline, plumblineOk, sharedFolder, start } from './plumbline.ts'

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

test('a run exports as OpenMetrics what each stage has done, its lag and its health', async () => {
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
  expect(samples.filter(({ name }) => name === 'plumbline_ready').map(({ value }) => value)).toEqual([1, 1, 1])
  const readiness = async () => {
    const response = await fetch(`${url}/readyz`)
    return [response.status, await response.json()]
  }
  expect(await readiness()).toEqual([200, { status: 'ready', waiting: [] }])
  expect((await fetch(`${url}/metrics`, { method: 'POST' })).status).toBe(405)
  expect((await fetch(`${url}/`)).status).toBe(404)
  const taken = await plumbline(['run', '--no-sink', '--metrics', new URL(url).host], { cwd })
  expect([taken.code, taken.stderr]).toEqual([2, expect.stringContaining('EADDRINUSE')])
  running.child.kill('SIGTERM')
  expect((await running.ended).code).toBe(0)
})
