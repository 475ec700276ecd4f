import type { HttpBindings } from '@hono/node-server'
import { createMiddleware } from 'hono/factory'
import { refused } from './refused.ts'

/** Bodies of JSON arrive within this time: a body that trickles in must not hold a connection. Inferred. */
export const BODY_MS = 30_000

/** A call whose body is not there in time is answered 408, and its connection is closed. */
export const timelyBody = (limit_ms: number) =>
  createMiddleware(async (context, next) => {
    const { incoming } = context.env as Partial<HttpBindings>
    if (incoming === undefined || incoming.complete) return await next()
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => {
        if (!incoming.complete) resolve('late')
      }, limit_ms)
    })
    const answering = next()
    // Its body will break off below.
    answering.catch(() => {})
    const first = await Promise.race([answering, late]).finally(() => clearTimeout(timer))
    if (first !== 'late') return undefined
    context.header('connection', 'close')
    const message = `expected the whole body within ${limit_ms / 1_000} s`
    return refused(context, 408, { error: 'too_slow', message })
  })
