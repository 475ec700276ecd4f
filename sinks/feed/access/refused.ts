import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import type { ANSWERED_CODES } from '../refusal.ts'

interface RefusedEnv {
  Variables: { refusal: string | undefined }
}

/** The answer to a call that is refused, in the form of all of them. */
export function refused(
  context: Context,
  status: number,
  body: { readonly error: (typeof ANSWERED_CODES)[number]; readonly message: string },
): Response {
  context.set('refusal', body.error)
  return context.json(body, status as 400)
}

/** Tells of each call that was refused: its path and the code. */
export const watchRefusals = (refused: (path: string, code: string) => void) =>
  createMiddleware<RefusedEnv>(async (context, next) => {
    await next()
    const code = context.get('refusal')
    if (code !== undefined) refused(context.req.path, code)
  })
