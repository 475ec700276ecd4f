import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import { giveBlob, takeBlob } from '../../../infra/blobs/blob-routes.ts'
import { MAX_BLOB_BYTES } from '../../../infra/blobs/blobs.ts'
import { SERVER_HEADER } from '../../../infra/blobs/http.ts'
import { sendStream } from '../../../infra/http/send-stream.ts'
import { ARROW_STREAM } from '../../../schemas/wire/offload.ts'
import { SqlFailedError, SqlRefusedError, SqlTimeoutError } from '../../duckdb/sql-errors.ts'
import { type FeedEnv, needs } from '../access/authorise.ts'
import { mayUse, type Token } from '../access/tokens.ts'
import type { Feed } from '../feed.ts'
import { FeedRefusal } from '../refusal.ts'
import { binary, json, refusals } from '../refused-answers.ts'
import { Admission } from './admission.ts'
import { BlobName, EventsAnswer, EventsBody, ModelAnswer, ModelBody, SqlQuery } from './door-calls.ts'
import type { Doors, ModelToPublish, NotPublished, PublishAnswer, SqlDoor } from './doors.ts'
import { EventDoor } from './event-door.ts'

/** Of a body that is no blob: longer than any checkpoint's list of groups. */
export const MAX_BODY_BYTES = 16 * 2 ** 20
/** Of bodies with events and models that are read and checked at once. Inferred, as are those below. */
const MOST_BODY_BYTES = 64 * 2 ** 20
const MOST_UPLOADS = 8
const MOST_DOWNLOADS = 64
const MOST_MODELS = 8
const MOST_STATEMENTS = 4
const WAIT_MS = 10_000

const blobParams = z.object({ sha256: BlobName })
const octets = 'application/octet-stream'

const GET_BLOB = createRoute({
  method: 'get',
  path: '/v1/blobs/{sha256}',
  summary: 'A blob, or one range of it',
  ...needs('read'),
  request: { params: blobParams },
  responses: {
    200: binary('the blob', octets),
    206: binary('the range that the header Range asks for', octets),
    416: refusals[400],
    422: json('other bytes are stored under its name', refusals[400].content['application/json'].schema),
    ...refusals,
  },
})

const PUT_BLOB = createRoute({
  method: 'put',
  path: '/v1/blobs/{sha256}',
  summary: 'Store the file of a model, or a blob that an event names',
  ...needs('publish'),
  request: {
    params: blobParams,
    body: { content: { [octets]: { schema: z.string().openapi({ format: 'binary' }) } } },
  },
  responses: {
    201: { description: 'it is stored' },
    422: json('the body has another hash', refusals[400].content['application/json'].schema),
    ...refusals,
  },
})

const POST_EVENTS = createRoute({
  method: 'post',
  path: '/v1/events',
  summary: 'Append events of declared types',
  ...needs('publish'),
  request: { body: { required: true, content: { 'application/json': { schema: EventsBody } } } },
  responses: { 200: json('all are committed', EventsAnswer), ...refusals },
})

const POST_MODELS = createRoute({
  method: 'post',
  path: '/v1/models',
  summary: 'Publish a model whose files are stored',
  ...needs('publish'),
  request: { body: { required: true, content: { 'application/json': { schema: ModelBody } } } },
  responses: { 200: json('it is published, now or before', ModelAnswer), ...refusals },
})

const GET_SQL = createRoute({
  method: 'get',
  path: '/v1/sql',
  summary: 'Ask the tables',
  ...needs('sql'),
  request: { query: SqlQuery },
  responses: { 200: binary('the rows', ARROW_STREAM), ...refusals },
})

/** Blobs, events, models and SQL. */
export function addDoors(app: OpenAPIHono<FeedEnv>, feed: Feed, doors: Doors): void {
  const downloads = new Admission(MOST_DOWNLOADS, WAIT_MS, 'download')
  const uploads = new Admission(MOST_UPLOADS, WAIT_MS, 'upload')
  app.openapi(GET_BLOB, (context) => {
    context.header(SERVER_HEADER, '1')
    const { sha256 } = context.req.valid('param')
    return downloads.during(1, () => giveBlob(context, sha256, doors.blobs))
  })
  app.openapi(PUT_BLOB, (context) => {
    context.header(SERVER_HEADER, '1')
    const { sha256 } = context.req.valid('param')
    return uploads.during(1, () => takeBlob(context, sha256, { blobs: doors.blobs, max_bytes: MAX_BLOB_BYTES }))
  })

  const bodies = new Admission(MOST_BODY_BYTES, WAIT_MS, 'publish')
  for (const path of ['/v1/events', '/v1/models']) {
    // Before the body is read.
    app.use(path, async (context, next) => {
      await bodies.during(Number(context.req.header('content-length') ?? 0), next)
    })
  }
  const events = new EventDoor(doors.events)
  app.openapi(POST_EVENTS, async (context) => {
    const ce_ids = await events.publish(context.req.valid('json').events, tokenOf(context.get('token')))
    return context.json({ ce_ids }, 200)
  })
  const models = new Admission(MOST_MODELS, WAIT_MS, 'publish models')
  app.openapi(POST_MODELS, async (context) => {
    const { files, ...body } = context.req.valid('json')
    const named = files.map(({ name, sha256, bytes }) => ({
      ...{ name, blob: { sha256, bytes, media_type: MEDIA_TYPES[name] } },
    }))
    const publishing = models.during(1, () =>
      publishModel(feed, doors, { ...body, files: named }, tokenOf(context.get('token'))),
    )
    return context.json(await publishing, 200)
  })

  const statements = new Admission(MOST_STATEMENTS, WAIT_MS, 'ask')
  app.openapi(GET_SQL, async (context) => {
    const { query, timeout_s } = context.req.valid('query')
    return await statements.during(1, async () => {
      const { result, close } = await asked(doors.sql, query, timeout_s * 1_000)
      const headers = { 'content-type': ARROW_STREAM }
      return await sendStream(context, { status: 200, headers, bytes: result.chunks }).finally(async () => {
        await result.close()
        await close()
      })
    })
  })
}

const MEDIA_TYPES = {
  'model.onnx': 'application/onnx',
  'encoder.onnx': 'application/onnx',
  'adapter_model.safetensors': 'application/octet-stream',
  'adapter_config.json': 'application/json',
} as const

/** A call with the role `publish` has a token: without tokens it is refused before. */
function tokenOf(token: Token | undefined): Token {
  if (token === undefined) throw new FeedRefusal('forbidden', 'expected a token with the role publish')
  return token
}

/** @throws FeedRefusal when it is not published */
async function publishModel(feed: Feed, { models }: Doors, model: ModelToPublish, token: Token) {
  const { trained_at, lineage } = model
  if (trained_at !== null && !mayUse(token, trained_at.consumer)) {
    const has = token.consumers.join(', ') || 'none'
    const message = `token ${token.name}: expected a token with the consumer ${trained_at.consumer}, it has ${has}`
    throw new FeedRefusal('forbidden', message)
  }
  const owner = feed.consumers.find(({ state }) => state.lineages.has(lineage))
  if (trained_at === null && owner !== undefined) {
    const message = `trained_at: expected the run, because the lineage ${lineage} is of a run of consumer ${owner.name}`
    throw new FeedRefusal('invalid', message)
  }
  const consumer = trained_at === null ? undefined : await feed.consumer(trained_at.consumer)
  // Before the files are read; and again when the model is appended.
  if (trained_at !== null) await consumer?.whileCurrent({ ...trained_at, lineage }, async () => {})
  const not = await models.prepare(model)
  if (not !== undefined) throw refusalOf(not)
  const publish = () => models.publish(model, token.name)
  const answer: PublishAnswer =
    trained_at === null || consumer === undefined
      ? await publish()
      : await consumer.whileCurrent({ ...trained_at, lineage }, publish)
  if ('refused' in answer) throw refusalOf(answer)
  const { model_id, event_id } = answer
  return { model_id, event_id }
}

const refusalOf = ({ refused, message, ...details }: NotPublished) => new FeedRefusal(refused, message, details)

/** Nothing can answer: no run has loaded the tables, or they are damaged or locked. */
class TablesAwayError extends Error {
  override readonly name = 'TablesAwayError'
  readonly retry = 'later'
}

/** @throws FeedRefusal for a statement that cannot be answered, TablesAwayError when none can */
async function asked(sql: SqlDoor, query: string, time_limit_ms: number) {
  try {
    return await sql.ask(query, time_limit_ms)
  } catch (error) {
    if (error instanceof SqlFailedError || error instanceof SqlRefusedError || error instanceof SqlTimeoutError) {
      throw new FeedRefusal('sql_failed', error.message)
    }
    const why = error instanceof Error ? error.message : String(error)
    throw new TablesAwayError(`the tables cannot be asked: ${why}`, { cause: error })
  }
}
