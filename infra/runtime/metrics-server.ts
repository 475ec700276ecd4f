import { createServer, type ServerResponse } from 'node:http'
import { type Listening, listen } from '../http/listen.ts'
import { OPEN_METRICS_TYPE, openMetricsText } from './open-metrics.ts'
import type { RunMetrics } from './run-metrics.ts'

/**
 * `/metrics` in the OpenMetrics text format; `/healthz`: 200 while every stage works, 503 naming those that are
 * waiting for something (a full disk, a log that is away); `/readyz`: 200 from when every stage has joined its group and
 * restored its state until the run is told to stop, 503 naming those that have not.
 *
 * @throws Error when the address cannot be listened on
 */
export async function serveMetrics(
  metrics: RunMetrics,
  at: { readonly host: string; readonly port: number },
): Promise<Listening> {
  const server = createServer(async (request, response) => {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD')
      return answer(response, 405, 'text/plain; charset=utf-8', 'expected GET\n')
    }
    try {
      if (path === '/metrics')
        return answer(response, 200, OPEN_METRICS_TYPE, openMetricsText(await metrics.families()))
    } catch (error) {
      return answer(response, 503, 'text/plain; charset=utf-8', `${error instanceof Error ? error.message : error}\n`)
    }
    if (path === '/healthz') {
      const troubles = Object.fromEntries(metrics.troubles())
      const ok = Object.keys(troubles).length === 0
      const text = `${JSON.stringify({ status: ok ? 'ok' : 'retrying', stages: troubles })}\n`
      return answer(response, ok ? 200 : 503, 'application/json', text)
    }
    if (path === '/readyz') {
      const readiness = metrics.readiness()
      const text = `${JSON.stringify(readiness)}\n`
      return answer(response, readiness.status === 'ready' ? 200 : 503, 'application/json', text)
    }
    return answer(response, 404, 'text/plain; charset=utf-8', 'there are /metrics, /healthz and /readyz\n')
  })
  return await listen(server, at)
}

function answer(response: ServerResponse, status: number, type: string, text: string): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(text) })
  response.end(text)
}
