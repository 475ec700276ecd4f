import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { refused } from './refused.ts'

/**
 * Refuses a body before any of it is read: one that does not name its length, and one that is too large. Node reads no
 * more than the length that is named.
 *
 * @param most bytes of the call's body
 */
export const sizedBody = (most: (context: Context) => number) =>
  createMiddleware(async (context, next) => {
    if (context.req.header('transfer-encoding') !== undefined) {
      context.header('connection', 'close')
      const message = 'expected the header Content-Length, got a body whose length is not named'
      return refused(context, 411, { error: 'invalid', message })
    }
    const limit = most(context)
    if (Number(context.req.header('content-length') ?? 0) <= limit) return await next()
    context.header('connection', 'close')
    return refused(context, 413, { error: 'too_large', message: `expected a body of at most ${limit} bytes` })
  })
