import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { bearerOf } from '../../../infra/http/bearer.ts'
import { refused } from './refused.ts'
import { mayUse, type Role, type Token, type TokenFile } from './tokens.ts'

/** The token of a call; undefined where the feed has no tokens, or the call needs none. */
export interface FeedEnv {
  Variables: { token: Token | undefined }
}

const FREE: readonly string[] = ['/healthz', '/readyz', '/openapi.json']
const IN_THE_URL: readonly string[] = ['token', 'access_token']

/** A token in a URL is in histories, proxies and their logs. */
export const noTokenInUrl = createMiddleware(async (context, next) => {
  const names = [...new URL(context.req.url).searchParams.keys()]
  const [name] = names.filter((one) => IN_THE_URL.includes(one.toLowerCase()))
  if (name === undefined) return await next()
  const message = `query.${name}: expected no token in the URL, which is logged on its way; send the header "Authorization: Bearer TOKEN", and replace this token`
  return refused(context, 400, { error: 'invalid', message })
})

/** Every path but those above needs a token of the file. Which roles it needs, the routes declare. */
export const onlyTokens = (tokens: TokenFile) =>
  createMiddleware<FeedEnv>(async (context, next) => {
    if (FREE.includes(context.req.path)) return await next()
    const shown = bearerOf(context.req.header('authorization'))
    const token = shown === undefined ? undefined : await tokens.find(shown)
    if (token !== undefined) {
      context.set('token', token)
      return await next()
    }
    context.header('www-authenticate', 'Bearer')
    const message = `expected a token of this feed in the header "Authorization: Bearer TOKEN", got ${shown === undefined ? 'none' : 'one that it does not know'}; "plumbline feed token" makes one`
    return refused(context, 401, { error: 'unauthorised', message })
  })

/** What a route needs, for the program and for the OpenAPI document. */
export const needs = (role: Role) => ({ security: [{ bearer: [role] }], middleware: onlyRole(role) })

/** What everybody on this machine may do where there are no tokens. */
const WITHOUT_TOKENS: readonly Role[] = ['read', 'receipts']

export const onlyRole = (role: Role) =>
  createMiddleware<FeedEnv>(async (context, next) => {
    const token = context.get('token')
    if (token === undefined) {
      if (WITHOUT_TOKENS.includes(role)) return await next()
      const message = `expected a token with the role ${role}, this feed has none: start it with --tokens; without it, only ${WITHOUT_TOKENS.join(' and ')} are allowed`
      return refused(context, 403, { error: 'forbidden', message })
    }
    const consumer = context.req.param('consumer')
    const { name, roles, consumers } = token
    const lacks = !roles.includes(role)
      ? `the role ${role}, it has ${roles.join(', ')}`
      : consumer !== undefined && !mayUse(token, consumer)
        ? `the consumer ${consumer}, it has ${consumers.join(', ') || 'none'}`
        : undefined
    if (lacks === undefined) return await next()
    return refused(context, 403, { error: 'forbidden', message: `token ${name}: expected a token with ${lacks}` })
  })

/** Whether the caller may see a consumer. */
export function maySee(context: Context<FeedEnv>, consumer: string): boolean {
  const token = context.get('token')
  return token === undefined || mayUse(token, consumer)
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i

/** Without tokens, a page of a browser on this host must not reach the feed: not under another name, nor from another origin. */
export const onlyLoopback = createMiddleware(async (context, next) => {
  const host = context.req.header('host') ?? 'localhost'
  const origin = context.req.header('origin')
  const from = origin === undefined ? 'localhost' : (/^https?:\/\/(.*)$/.exec(origin)?.[1] ?? '')
  if (LOOPBACK.test(host) && LOOPBACK.test(from)) return await next()
  const message = `expected Host and Origin of this machine (localhost, 127.0.0.1), got ${LOOPBACK.test(host) ? origin : host}`
  return refused(context, 403, { error: 'forbidden', message })
})
