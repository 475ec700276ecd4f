import type { Context } from 'hono'

/** The answer to a call that is refused, in the form of all of them. */
export function refused(
  context: Context,
  status: number,
  body: { readonly error: string; readonly message: string },
): Response {
  return context.json(body, status as 400)
}
