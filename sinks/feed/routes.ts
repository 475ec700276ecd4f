import type { HttpBindings } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { createRoute, OpenAPIHono, z } from '@hono/zod-openapi'
import type { Context } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { HTTPException } from 'hono/http-exception'
import { retryOf } from '../../infra/retry.ts'
import { EventTooLargeError, InvalidEventError } from '../../schemas/declare/event-errors.ts'
import {
  CheckpointBody,
  ConsumerAnswer,
  ConsumerName,
  counted,
  DropBody,
  HeartbeatBody,
  LeaseBody,
  ReceiptBody,
  Refused,
  ReleaseBody,
  RetireBody,
  RunBody,
  StartedRun,
  StepBody,
  SubscriptionBody,
} from './calls.ts'
import type { Subscription } from './consumer-state.ts'
import type { Feed } from './feed.ts'
import type { OpenConsumer } from './open-consumer.ts'
import { FeedRefusal, type RefusalCode } from './refusal.ts'

/** Longer than any checkpoint's list of groups. */
const MAX_BODY_BYTES = 16 * 2 ** 20
export const ARROW_STREAM = 'application/vnd.apache.arrow.stream'

const STATUSES: Partial<Record<RefusalCode, 400 | 404 | 429>> = {
  invalid: 400,
  unknown_consumer: 404,
  unknown_checkpoint: 404,
  too_many_leased: 429,
}

type Answer = z.ZodType

/** A call about one consumer. */
function call<B extends z.ZodType, A extends Answer>(
  method: 'put' | 'post' | 'delete',
  path: string,
  summary: string,
  body: B,
  answer: A,
) {
  return createRoute({
    method,
    path: `/v1/consumers/{consumer}${path}`,
    summary,
    request: {
      params: z.object({ consumer: ConsumerName }),
      body: { required: true, content: { 'application/json': { schema: body } } },
    },
    responses: { 200: json('done', answer), ...refusals },
  })
}

const json = <A extends Answer>(description: string, schema: A) => ({
  description,
  content: { 'application/json': { schema } },
})

const refusals = {
  400: json('the call is not valid', Refused),
  404: json('there is no such consumer or checkpoint', Refused),
  409: json('the state of the consumer does not allow it', Refused),
  413: json('the body is too large', Refused),
  429: json('too many groups are leased', Refused),
  503: json('the log or the blobs cannot be reached; nothing happened', Refused),
}

const SUBSCRIBE = call('put', '', 'Subscribe a consumer', SubscriptionBody, ConsumerAnswer)
const RETIRE = call('delete', '', 'Retire a consumer', RetireBody, ConsumerAnswer)
const RUN = call('post', '/runs', 'Start, join or resume a run', RunBody, StartedRun)
const HEARTBEAT = call(
  'post',
  '/heartbeats',
  'Keep the leases of a rank',
  HeartbeatBody,
  z.object({ leased: z.array(z.int()) }),
)
const RELEASE = call('post', '/releases', 'Give groups back', ReleaseBody, counted('released'))
const STEP = call('post', '/steps', 'Check the groups of a step before its gradient', StepBody, counted('begun'))
const RECEIPT = call('post', '/receipts', 'Report a step that was taken', ReceiptBody, counted('applied'))
const DROP = call('post', '/drops', 'Drop groups', DropBody, counted('dropped'))
const CHECKPOINT = call('post', '/checkpoints', 'Make groups durable', CheckpointBody, counted('durable'))

const LEASE = createRoute({
  method: 'post',
  path: '/v1/consumers/{consumer}/leases',
  summary: 'Lease groups',
  request: {
    params: z.object({ consumer: ConsumerName }),
    body: { required: true, content: { 'application/json': { schema: LeaseBody } } },
  },
  responses: {
    200: {
      description: 'the groups, a record batch for each',
      content: { [ARROW_STREAM]: { schema: z.string().openapi({ format: 'binary' }) } },
    },
    204: { description: 'no group came in time' },
    ...refusals,
  },
})

const GET_ONE = createRoute({
  method: 'get',
  path: '/v1/consumers/{consumer}',
  summary: 'What a consumer has',
  request: { params: z.object({ consumer: ConsumerName }) },
  responses: { 200: json('the consumer', ConsumerAnswer), ...refusals },
})

const GET_ALL = createRoute({
  method: 'get',
  path: '/v1/consumers',
  summary: 'All consumers',
  responses: { 200: json('their names', z.object({ consumers: z.array(z.string()) })), ...refusals },
})

/** The feed's calls as a Hono application; routes, checks and `/openapi.json` are one declaration. */
export function feedRoutes(feed: Feed): OpenAPIHono {
  const app = new OpenAPIHono({
    defaultHook: (result, context) => {
      if (result.success) return undefined
      const [issue] = result.error.issues
      const field = issue?.path.join('.') || 'body'
      return refused(context, 400, { error: 'invalid', message: `${field}: ${issue?.message ?? 'not valid'}` })
    },
  })
  app.use(onlyLoopback)
  app.use(
    bodyLimit({
      maxSize: MAX_BODY_BYTES,
      onError: (context) =>
        refused(context, 413, { error: 'too_large', message: `expected a body of at most ${MAX_BODY_BYTES} bytes` }),
    }),
  )

  app.openapi(GET_ALL, async (context) => context.json({ consumers: await feed.names() }, 200))
  app.openapi(GET_ONE, async (context) => {
    const { consumer } = context.req.valid('param')
    return context.json(await shown(await feed.consumer(consumer)), 200)
  })
  app.openapi(SUBSCRIBE, async (context) => {
    const { start, ...wanted } = context.req.valid('json')
    const consumer = await feed.consumer(context.req.valid('param').consumer, 'open')
    await consumer.subscribe({ ...wanted, transport: 'http' }, start)
    return context.json(await shown(consumer), 200)
  })
  app.openapi(RETIRE, async (context) => {
    const consumer = await feed.consumer(context.req.valid('param').consumer)
    await consumer.retire(context.req.valid('json').reason)
    return context.json(await shown(consumer), 200)
  })
  app.openapi(RUN, async (context) => {
    const consumer = await feed.consumer(context.req.valid('param').consumer)
    const run = await consumer.startRun(context.req.valid('json'))
    return context.json({ ...run, lease_ms: consumer.state.subscription?.lease_ms ?? 0 }, 200)
  })
  app.openapi(LEASE, async (context) => {
    const consumer = await feed.consumer(context.req.valid('param').consumer)
    const { wait_ms, ...wanted } = context.req.valid('json')
    const signal = AbortSignal.any([feed.signal, context.req.raw.signal])
    const leased = await consumer.lease(wanted, wait_ms, signal)
    if (leased === undefined) return context.body(null, 204)
    return sent(context, await feed.bodyOf(leased, wanted))
  })
  app.openapi(HEARTBEAT, async (context) => {
    const consumer = await feed.consumer(context.req.valid('param').consumer)
    return context.json({ leased: consumer.heartbeat(context.req.valid('json')) }, 200)
  })
  app.openapi(RELEASE, async (context) => {
    const consumer = await feed.consumer(context.req.valid('param').consumer)
    const { groups, ...caller } = context.req.valid('json')
    return context.json({ released: await consumer.release(caller, groups) }, 200)
  })
  app.openapi(STEP, async (context) => {
    const consumer = await feed.consumer(context.req.valid('param').consumer)
    return context.json({ begun: await consumer.beginStep(context.req.valid('json')) }, 200)
  })
  app.openapi(RECEIPT, async (context) => {
    const consumer = await feed.consumer(context.req.valid('param').consumer)
    return context.json({ applied: await consumer.applied(context.req.valid('json')) }, 200)
  })
  app.openapi(DROP, async (context) => {
    const consumer = await feed.consumer(context.req.valid('param').consumer)
    return context.json({ dropped: await consumer.drop(context.req.valid('json')) }, 200)
  })
  app.openapi(CHECKPOINT, async (context) => {
    const consumer = await feed.consumer(context.req.valid('param').consumer)
    return context.json({ durable: await consumer.checkpoint(context.req.valid('json')) }, 200)
  })
  app.get('/healthz', (context) => context.text('ok\n'))
  app.get('/readyz', async (context) => {
    await feed.names()
    return context.text('ready\n')
  })
  app.doc31('/openapi.json', { openapi: '3.1.0', info: { title: 'Plumbline training feed', version: '1' } })
  app.notFound((context) =>
    refused(context, 404, { error: 'not_found', message: `${context.req.path}: see /openapi.json for what there is` }),
  )
  return app
}

/** An Arrow stream, from where its pieces lie: a web response would copy them, or wait for the client after each. */
function sent(context: Context, pieces: readonly Uint8Array[]): Response {
  const length = pieces.reduce((sum, { byteLength }) => sum + byteLength, 0)
  const headers = { 'content-type': ARROW_STREAM, 'content-length': String(length) }
  const { outgoing } = context.env as Partial<HttpBindings>
  if (outgoing === undefined) return context.body(Buffer.concat(pieces), 200, headers)
  outgoing.writeHead(200, headers)
  outgoing.cork()
  for (const piece of pieces) outgoing.write(piece)
  outgoing.end()
  return RESPONSE_ALREADY_SENT
}

/** A consumer as `GET` answers it. */
async function shown(consumer: OpenConsumer) {
  const { name, subscription, retired = null, run = null, next_sequence, counts, checkpoints } = consumer.state
  return {
    ...{ consumer: name, subscription: asked(subscription), retired, run, next_sequence, counts },
    checkpoints: checkpoints.map(({ checkpoint, run, step }) => ({ checkpoint, run, step })),
    behind: await consumer.behind(),
  }
}

/** A subscription without where it began. */
function asked(subscription: Subscription | undefined) {
  if (subscription === undefined) return null
  const { order, order_seed, order_window, max_staleness, without_version, lease_ms, keep_checkpoints } = subscription
  const { lineages, ...filter } = subscription.filter
  return {
    filter: { ...filter, lineages: lineages === null ? null : [...lineages] },
    ...{ order, order_seed, order_window, max_staleness, without_version, lease_ms, keep_checkpoints },
  }
}

function refused(
  context: Context,
  status: number,
  body: { readonly error: string; readonly message: string },
): Response {
  return context.json(body, status as 400)
}

/** What a consumer refuses, and outages, in the words of every call. */
export function errorAnswer(error: Error, context: Context): Response {
  if (error instanceof FeedRefusal) {
    const { code, message, details } = error
    return refused(context, STATUSES[code] ?? 409, { error: code, message, ...details })
  }
  if (error instanceof SyntaxError || error instanceof InvalidEventError || error instanceof EventTooLargeError) {
    return refused(context, 400, { error: 'invalid', message: error.message })
  }
  if (error instanceof HTTPException) {
    return refused(context, 400, { error: 'invalid', message: `body: ${error.message}` })
  }
  const is_bug = retryOf(error) === 'never' && error.name !== 'RivalError'
  return refused(context, is_bug ? 500 : 503, { error: is_bug ? 'bug' : 'unavailable', message: error.message })
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i

/** Without tokens, a page of a browser on this host must not reach the feed: not under another name, nor from another origin. */
async function onlyLoopback(context: Context, next: () => Promise<void>): Promise<Response | undefined> {
  const host = context.req.header('host') ?? 'localhost'
  const origin = context.req.header('origin')
  const from = origin === undefined ? 'localhost' : (/^https?:\/\/(.*)$/.exec(origin)?.[1] ?? '')
  if (LOOPBACK.test(host) && LOOPBACK.test(from)) {
    await next()
    return undefined
  }
  const message = `expected Host and Origin of this machine (localhost, 127.0.0.1), got ${LOOPBACK.test(host) ? origin : host}`
  return refused(context, 403, { error: 'forbidden', message })
}
