import { type Context, Hono } from 'hono'
import { plainText, RefusedError, serveHttp } from '../../http/http-server.ts'
import type { Listening } from '../../http/listen.ts'
import { OPEN_METRICS_TYPE, openMetricsText } from './open-metrics.ts'
import type { RunMetrics } from './run-metrics.ts'

/**
 * `/metrics`: the OpenMetrics text format. `/healthz`: 200 while every stage works, otherwise 503 with the stages that
 * wait for something (a full disk, an unreachable log). `/readyz`: 200 while every stage has joined its group and
 * restored its state and the run was not told to stop, otherwise 503 with the stages that are not ready.
 *
 * @throws Error when the address cannot be listened on
 */
export async function serveMetrics(
  metrics: RunMetrics,
  at: { readonly host: string; readonly port: number },
): Promise<Listening> {
  const app = new Hono()
  app.use(async (context, next) => {
    if (context.req.method === 'GET' || context.req.method === 'HEAD') return await next()
    context.header('allow', 'GET, HEAD')
    return plainText(context, 405, 'expected GET')
  })
  app.get('/metrics', async (context) => {
    const families = await metrics.families().catch((error: unknown) => {
      throw new RefusedError(503, error instanceof Error ? error.message : String(error))
    })
    return context.body(openMetricsText(families), 200, { 'content-type': OPEN_METRICS_TYPE })
  })
  app.get('/healthz', (context) => {
    const troubles = Object.fromEntries(metrics.troubles())
    const ok = Object.keys(troubles).length === 0
    return json(context, { status: ok ? 'ok' : 'retrying', stages: troubles }, ok ? 200 : 503)
  })
  app.get('/readyz', (context) => {
    const readiness = metrics.readiness()
    return json(context, readiness, readiness.status === 'ready' ? 200 : 503)
  })
  app.notFound((context) => plainText(context, 404, 'there are /metrics, /healthz and /readyz'))
  return await serveHttp(app, at)
}

/** Ends with a newline, for people who use curl. */
const json = (context: Context, value: unknown, status: 200 | 503) =>
  context.body(`${JSON.stringify(value)}\n`, status, { 'content-type': 'application/json' })
