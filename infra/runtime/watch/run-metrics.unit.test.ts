import { expect, test } from 'vitest'
import { serveMetrics } from './metrics-server.ts'
import { RunMetrics } from './run-metrics.ts'

const stage = (name: string) => ({ name, outputs: ['emitted'] })

test('a stage that waits for a dependency is named until it works again', async () => {
  const metrics = new RunMetrics([stage('count')], async () => new Map([['count', 3]]))
  const server = await serveMetrics(metrics, { host: '127.0.0.1', port: 0 })
  const health = async () => {
    const response = await fetch(`http://${server.address}/healthz`)
    return [response.status, await response.json()]
  }
  try {
    expect(await health()).toEqual([200, { status: 'ok', stages: {} }])
    metrics.workerEvent('count', { kind: 'skipped', topic: 'emitted', partition: 0, from: 1n, to: 3n })
    metrics.workerEvent('count', { kind: 'retrying', error: new Error('the disk is full'), wait_ms: 50 })
    expect(await health()).toEqual([503, { status: 'retrying', stages: { count: 'the disk is full' } }])
    metrics.workerEvent('count', {
      kind: 'committed',
      records: 2,
      outputs: 1,
      outputs_by_type: { emitted: 1 },
      dead_letters: 0,
    })
    expect(await health()).toEqual([200, { status: 'ok', stages: {} }])
    const text = await (await fetch(`http://${server.address}/metrics`)).text()
    expect(text).toContain('plumbline_records_total{stage="count"} 2\n')
    expect(text).toContain('plumbline_retries_total{stage="count"} 1\n')
    expect(text).toContain('plumbline_skips_total{stage="count"} 1\n')
    expect(text).toContain('plumbline_events_total{stage="count",type="emitted"} 1\n')
    expect(text).toContain('plumbline_lag_messages{stage="count"} 3\n')
  } finally {
    await server.close()
  }
})

test('a run is ready when every stage has joined and restored, until one leaves or the run is told to stop', () => {
  const metrics = new RunMetrics([stage('a'), stage('b')], async () => new Map())
  const states = [metrics.readiness()]
  const say = (stage: string, kind: 'joined' | 'left') => {
    metrics.workerEvent(stage, kind === 'joined' ? { kind, partitions: [0] } : { kind })
    states.push(metrics.readiness())
  }
  say('a', 'joined')
  say('b', 'joined')
  say('a', 'left')
  say('a', 'joined')
  metrics.stop()
  states.push(metrics.readiness())
  expect(states.map(({ status, waiting }) => `${status} ${waiting.join()}`)).toEqual([
    ...['starting a,b', 'starting b', 'ready ', 'starting a', 'ready ', 'stopping '],
  ])
})

test('the sink counts as a stage that can fail, and an unavailable log does not stop the metrics', async () => {
  let trouble: string | undefined = 'no room on the disk'
  const metrics = new RunMetrics(
    [stage('count')],
    async () => undefined,
    new Map([['duckdb', () => ({ trouble, retries: 3 })]]),
  )
  const server = await serveMetrics(metrics, { host: '127.0.0.1', port: 0 })
  const get = async (path: string) => {
    const response = await fetch(`http://${server.address}${path}`)
    return `${response.status} ${await response.text()}`
  }
  try {
    expect(await get('/healthz')).toBe('503 {"status":"retrying","stages":{"duckdb":"no room on the disk"}}\n')
    const text = await get('/metrics')
    expect(text).toContain('plumbline_trouble{stage="duckdb"} 1\n')
    expect(text).toContain('plumbline_retries_total{stage="duckdb"} 3\n')
    expect(text).toContain('plumbline_log_reachable 0\n')
    expect(text).not.toContain('plumbline_lag_messages{')
    trouble = undefined
    expect(await get('/healthz')).toMatch(/^200 /)
    expect(await get('/readyz')).toBe('503 {"status":"starting","waiting":["count"]}\n')
    metrics.stop()
    expect(await get('/readyz')).toBe('503 {"status":"stopping","waiting":["count"]}\n')
  } finally {
    await server.close()
  }
})
