import type { HttpBindings } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { createRoute, OpenAPIHono, z } from '@hono/zod-openapi'
import type { Context } from 'hono'
import { HTTPException } from 'hono/http-exception'
import { MAX_BLOB_BYTES } from '../../infra/blobs/blobs.ts'
import { RefusedError } from '../../infra/http/http-server.ts'
import { retryOf } from '../../infra/retry.ts'
import { OPEN_METRICS_TYPE, openMetricsText } from '../../infra/runtime/watch/open-metrics.ts'
import { RivalError } from '../../infra/runtime/work/resuming-producer.ts'
import { EventTooLargeError, InvalidEventError, PoisonError } from '../../schemas/declare/event-errors.ts'
import { ARROW_STREAM } from '../../schemas/wire/offload.ts'
import { type FeedEnv, maySee, needs, noTokenInUrl, onlyLoopback, onlyRole, onlyTokens } from './access/authorise.ts'
import { refused, watchRefusals } from './access/refused.ts'
import { sizedBody } from './access/sized-body.ts'
import { BODY_MS, timelyBody } from './access/timely-body.ts'
import type { Role, TokenFile } from './access/tokens.ts'
import {
  CheckpointBody,
  ConsumerAnswer,
  ConsumerName,
  counted,
  DropBody,
  HeartbeatBody,
  LeaseBody,
  ReceiptBody,
  ReleaseBody,
  RetireBody,
  RunBody,
  StartedRun,
  StepBody,
  SubscriptionBody,
} from './calls.ts'
import type { Subscription } from './consumer-parts.ts'
import { addDoors, MAX_BODY_BYTES } from './doors/door-routes.ts'
import type { Doors } from './doors/doors.ts'
import type { Feed, LeaseAnswer } from './feed.ts'
import type { OpenConsumer } from './open-consumer.ts'
import { jsonBody, noSuchCall } from './other-method.ts'
import { type ANSWERED_CODES, FeedRefusal, type RefusalCode } from './refusal.ts'
import { binary, json, refusals } from './refused-answers.ts'
import { FeedMetrics } from './watch/feed-metrics.ts'

const STATUSES: Partial<Record<RefusalCode, 400 | 403 | 404 | 429>> = {
  invalid: 400,
  sql_failed: 400,
  forbidden: 403,
  unknown_consumer: 404,
  unknown_checkpoint: 404,
  too_many_leased: 429,
}

type Answer = z.ZodType

/** A call about one consumer, and the role that it needs. */
function call<B extends z.ZodType, A extends Answer>(
  method: 'put' | 'post' | 'delete',
  path: string,
  role: Role,
  summary: string,
  body: B,
  answer: A,
) {
  return createRoute({
    method,
    path: `/v1/consumers/{consumer}${path}`,
    summary,
    ...needs(role),
    request: {
      params: z.object({ consumer: ConsumerName }),
      body: { required: true, content: { 'application/json': { schema: body } } },
    },
    responses: { 200: json('done', answer), ...refusals },
  })
}

const SUBSCRIBE = call('put', '', 'receipts', 'Subscribe a consumer', SubscriptionBody, ConsumerAnswer)
const RETIRE = call('delete', '', 'receipts', 'Retire a consumer', RetireBody, ConsumerAnswer)
const RUN = call('post', '/runs', 'receipts', 'Start, join or resume a run', RunBody, StartedRun)
const HEARTBEAT = call(
  'post',
  '/heartbeats',
  'read',
  'Keep the leases of a rank',
  HeartbeatBody,
  z.object({ leased: z.array(z.int()) }),
)
const RELEASE = call('post', '/releases', 'read', 'Give groups back', ReleaseBody, counted('released'))
const STEP = call(
  'post',
  '/steps',
  'receipts',
  'Check the groups of a step before its gradient',
  StepBody,
  counted('begun'),
)
const RECEIPT = call('post', '/receipts', 'receipts', 'Report a step that was taken', ReceiptBody, counted('applied'))
const DROP = call('post', '/drops', 'receipts', 'Drop groups', DropBody, counted('dropped'))
const CHECKPOINT = call('post', '/checkpoints', 'receipts', 'Make groups durable', CheckpointBody, counted('durable'))

const LEASE = createRoute({
  method: 'post',
  path: '/v1/consumers/{consumer}/leases',
  summary: 'Lease groups',
  ...needs('read'),
  request: {
    params: z.object({ consumer: ConsumerName }),
    body: { required: true, content: { 'application/json': { schema: LeaseBody } } },
  },
  responses: {
    200: binary('the groups, a record batch for each', ARROW_STREAM),
    204: { description: 'no group came in time' },
    ...refusals,
  },
})

const GET_ONE = createRoute({
  method: 'get',
  path: '/v1/consumers/{consumer}',
  summary: 'What a consumer has',
  ...needs('read'),
  request: { params: z.object({ consumer: ConsumerName }) },
  responses: { 200: json('the consumer', ConsumerAnswer), ...refusals },
})

const GET_ALL = createRoute({
  method: 'get',
  path: '/v1/consumers',
  summary: 'All consumers that the token may see',
  ...needs('read'),
  responses: { 200: json('their names', z.object({ consumers: z.array(z.string()) })), ...refusals },
})

export interface FeedRoutesOptions {
  /** Who may call; without them, everybody on this machine may lease and report. */
  readonly tokens?: TokenFile | undefined
  /** What it serves besides groups; without them, those calls are not there. */
  readonly doors?: Doors
  /** Within which the body of a call, but for a blob, has to arrive. */
  readonly body_ms?: number
}

/** The feed's calls as a Hono application; routes, checks and `/openapi.json` are one declaration. */
export function feedRoutes(feed: Feed, options: FeedRoutesOptions = {}): OpenAPIHono<FeedEnv> {
  const { tokens, doors, body_ms = BODY_MS } = options

  const app = new OpenAPIHono<FeedEnv>({
    defaultHook: (result, context) => {
      if (result.success) return undefined
      const [issue] = result.error.issues
      const field = issue?.path.join('.') || 'body'
      return refused(context, 400, { error: 'invalid', message: `${field}: ${issue?.message ?? 'not valid'}` })
    },
  })
  app.use(watchRefusals((path, code) => feed.counts.refused(consumerOf(feed, path), code)))
  app.use(noTokenInUrl)
  app.use(tokens === undefined ? onlyLoopback : onlyTokens(tokens))
  const timely = timelyBody(body_ms)
  const isBlob = (context: Context) => context.req.method === 'PUT' && context.req.path.startsWith('/v1/blobs/')
  app.use(sizedBody((context) => (isBlob(context) ? MAX_BLOB_BYTES : MAX_BODY_BYTES)))
  app.use('/v1/consumers/*', jsonBody(app))
  // A blob may take long, as long as it gets on.
  app.use((context, next) => (isBlob(context) ? next() : timely(context, next)))

  app.openAPIRegistry.registerComponent('securitySchemes', 'bearer', {
    ...{ type: 'http', scheme: 'bearer' },
    description: 'A token of the file that the feed was started with (--tokens). Without that option none is needed.',
  })
  const named = (context: { readonly req: { valid(target: 'param'): { readonly consumer: string } } }) =>
    feed.consumer(context.req.valid('param').consumer)

  app.openapi(GET_ALL, async (context) => {
    const consumers = (await feed.names()).filter((name) => maySee(context, name))
    return context.json({ consumers }, 200)
  })
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
    const consumer = await named(context)
    await consumer.retire(context.req.valid('json').reason)
    return context.json(await shown(consumer), 200)
  })
  app.openapi(RUN, async (context) => {
    const consumer = await named(context)
    const run = await consumer.startRun(context.req.valid('json'))
    return context.json({ ...run, lease_ms: consumer.standing.subscription?.lease_ms ?? 0 }, 200)
  })
  app.openapi(LEASE, async (context) => {
    const consumer = await named(context)
    const { wait_ms, ...wanted } = context.req.valid('json')
    const signal = AbortSignal.any([feed.signal, context.req.raw.signal])
    const answer = await feed.lease(consumer, wanted, wait_ms, signal)
    return answer === undefined ? context.body(null, 204) : sent(context, answer)
  })
  app.openapi(HEARTBEAT, async (context) => {
    const consumer = await named(context)
    return context.json({ leased: await consumer.heartbeat(context.req.valid('json')) }, 200)
  })
  app.openapi(RELEASE, async (context) => {
    const consumer = await named(context)
    const { groups, ...caller } = context.req.valid('json')
    return context.json({ released: await consumer.release(caller, groups) }, 200)
  })
  app.openapi(STEP, async (context) => {
    const consumer = await named(context)
    return context.json({ begun: await consumer.beginStep(context.req.valid('json')) }, 200)
  })
  app.openapi(RECEIPT, async (context) => {
    const consumer = await named(context)
    return context.json({ applied: await consumer.applied(context.req.valid('json')) }, 200)
  })
  app.openapi(DROP, async (context) => {
    const consumer = await named(context)
    return context.json({ dropped: await consumer.drop(context.req.valid('json')) }, 200)
  })
  app.openapi(CHECKPOINT, async (context) => {
    const consumer = await named(context)
    return context.json({ durable: await consumer.checkpoint(context.req.valid('json')) }, 200)
  })
  if (doors !== undefined) addDoors(app, feed, doors)
  app.get('/healthz', (context) => context.text('ok\n'))
  app.get('/readyz', async (context) => {
    await feed.names()
    return context.text('ready\n')
  })
  const metrics = new FeedMetrics(feed)
  app.get('/metrics', onlyRole('read'), async (context) => {
    const families = await metrics.families((consumer) => maySee(context, consumer))
    return context.body(openMetricsText(families), 200, { 'content-type': OPEN_METRICS_TYPE })
  })
  app.doc31('/openapi.json', { openapi: '3.1.0', info: { title: 'Plumbline training feed', version: '1' } })
  app.notFound((context) => noSuchCall(app, context))
  return app
}

/** The consumer of a path, if this feed has it. */
function consumerOf(feed: Feed, path: string): string {
  const [, named] = /^\/v1\/consumers\/([^/]+)/.exec(path) ?? []
  return feed.consumers.some(({ name }) => name === named) ? (named as string) : ''
}

/** How long a client may read nothing of its answer. Inferred. */
const STALLED_MS = 60_000

/** An Arrow stream, from where its pieces lie: a web response would copy them, or wait for the client after each. */
function sent(context: Context, { pieces, sent: isSent }: LeaseAnswer): Response {
  const length = pieces.reduce((sum, { byteLength }) => sum + byteLength, 0)
  const headers = { 'content-type': ARROW_STREAM, 'content-length': String(length) }
  const { outgoing } = context.env as Partial<HttpBindings>
  if (outgoing === undefined) {
    isSent()
    return context.body(Buffer.concat(pieces), 200, headers)
  }
  outgoing.once('close', isSent)
  // A client that reads nothing for so long has gone; it gets its lease again when it asks again.
  outgoing.setTimeout(STALLED_MS, () => outgoing.destroy())
  outgoing.writeHead(200, headers)
  outgoing.cork()
  for (const piece of pieces) outgoing.write(piece)
  outgoing.end()
  return RESPONSE_ALREADY_SENT
}

/** A consumer as `GET` answers it. */
async function shown(consumer: OpenConsumer) {
  // First the bound: what is numbered meanwhile is in both.
  const behind = await consumer.behind()
  const { subscription, retired = null, run = null, next_sequence, counts, checkpoints } = consumer.standing
  return {
    ...{ consumer: consumer.name, subscription: asked(subscription), retired, run, next_sequence, counts },
    checkpoints: checkpoints.map(({ checkpoint, run, step }) => ({ checkpoint, run, step })),
    behind,
  }
}

/** A subscription without where it began. */
function asked(subscription: Subscription | undefined) {
  if (subscription === undefined) return null
  const { order, order_seed, order_window, max_staleness, without_version, lease_ms, keep_checkpoints } = subscription
  const { lineages, purposes, ...filter } = subscription.filter
  return {
    filter: {
      ...filter,
      lineages: lineages === null ? null : [...lineages],
      purposes: purposes === null ? null : [...purposes],
    },
    ...{ order, order_seed, order_window, max_staleness, without_version, lease_ms, keep_checkpoints },
  }
}

/** How a blob is refused, by status. */
const OF_BLOBS: Readonly<Record<number, (typeof ANSWERED_CODES)[number]>> = {
  404: 'not_found',
  413: 'too_large',
  416: 'out_of_range',
  422: 'blob_differs',
}

/** What a consumer refuses, and outages, in the words of every call. */
export function errorAnswer(error: Error, context: Context): Response {
  if (error instanceof FeedRefusal) {
    const { code, message, details } = error
    return refused(context, STATUSES[code] ?? 409, { error: code, message, ...details })
  }
  if (error instanceof RefusedError) {
    const code = OF_BLOBS[error.status] ?? 'invalid'
    return refused(context, error.status, { error: code, message: error.message })
  }
  if (error instanceof SyntaxError || error instanceof InvalidEventError || error instanceof EventTooLargeError) {
    return refused(context, 400, { error: 'invalid', message: error.message })
  }
  if (error instanceof HTTPException) {
    return refused(context, 400, { error: 'invalid', message: `body: ${error.message}` })
  }
  // A blob of a leased group is missing; it may come back.
  const is_bug = retryOf(error) === 'never' && !(error instanceof RivalError || error instanceof PoisonError)
  return refused(context, is_bug ? 500 : 503, { error: is_bug ? 'bug' : 'unavailable', message: error.message })
}
