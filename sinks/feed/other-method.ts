import type { Context, Hono } from 'hono'
import { createMiddleware } from 'hono/factory'
import { refused } from './access/refused.ts'

/** The answer to a call that no route takes: of a path that others may call in another way, or of none that there is. */
export function noSuchCall(app: Pick<Hono, 'routes'>, context: Context): Response {
  const { path, method } = context.req
  const allowed = methodsOf(app, path)
  if (allowed.size === 0 || allowed.has(method)) {
    return refused(context, 404, { error: 'not_found', message: `${path}: see /openapi.json for what there is` })
  }
  const allow = [...allowed].sort().join(', ')
  context.header('allow', allow)
  return refused(context, 405, { error: 'invalid', message: `${method} ${path}: expected ${allow}` })
}

/** The methods that a path has. */
function methodsOf(app: Pick<Hono, 'routes'>, path: string): Set<string> {
  const found = new Set(
    app.routes.flatMap((route) => (route.method !== 'ALL' && patternOf(route.path).test(path) ? [route.method] : [])),
  )
  return found.has('GET') ? found.add('HEAD') : found
}

/** Refuses calls about a consumer without a body in JSON: each that changes something has one. */
export const jsonBody = (app: Pick<Hono, 'routes'>) =>
  createMiddleware(async (context, next) => {
    const { method, path } = context.req
    const is_json = /^application\/json\b/i.test(context.req.header('content-type') ?? '')
    if (is_json || method === 'GET' || method === 'HEAD' || !methodsOf(app, path).has(method)) return await next()
    const message = 'body: expected JSON, with the header Content-Type: application/json'
    return refused(context, 400, { error: 'invalid', message })
  })

/** Paths of routes have parameters alone: `/v1/consumers/:consumer`. */
function patternOf(path: string): RegExp {
  const parts = path
    .split('/')
    .map((part) => (part.startsWith(':') ? '[^/]+' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')))
  return new RegExp(`^${parts.join('/')}$`)
}
