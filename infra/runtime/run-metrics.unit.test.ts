import { expect, test } from 'vitest'
import { serveMetrics } from './metrics-server.ts'
import { RunMetrics } from './run-metrics.ts'

test('a stage that waits for its surroundings is named until it works again', async () => {
  const metrics = new RunMetrics(['count'], async () => new Map([['count', 3]]))
  const server = await serveMetrics(metrics, { host: '127.0.0.1', port: 0 })
  const health = async () => {
    const response = await fetch(`http://${server.address}/healthz`)
    return [response.status, await response.json()]
  }
  try {
    expect(await health()).toEqual([200, { status: 'ok', stages: {} }])
    metrics.workerEvent('count', { kind: 'retrying', error: new Error('the disk is full'), wait_ms: 50 })
    expect(await health()).toEqual([503, { status: 'retrying', stages: { count: 'the disk is full' } }])
    metrics.workerEvent('count', { kind: 'committed', records: 2, outputs: 1, dead_letters: 0 })
    expect(await health()).toEqual([200, { status: 'ok', stages: {} }])
    const text = await (await fetch(`http://${server.address}/metrics`)).text()
    expect(text).toContain('plumbline_records_total{stage="count"} 2\n')
    expect(text).toContain('plumbline_retries_total{stage="count"} 1\n')
    expect(text).toContain('plumbline_lag_messages{stage="count"} 3\n')
  } finally {
    await server.close()
  }
})
