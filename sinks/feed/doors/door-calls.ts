import { z } from '@hono/zod-openapi'
import { SHA256 } from '../../../infra/blobs/blob-routes.ts'
import { MODEL_DTYPES, MODEL_FILES, MODEL_ROLES } from '../../../schemas/events/model.ts'

/** The bodies and answers of the calls that are about no consumer. `docs/feed.md` lists them. */

const id = z.string().min(1).max(256)
const text = z.string().max(1_024)
const whole = z.int().min(0)

export const BlobName = z.string().regex(SHA256, 'expected a SHA-256, 64 hexadecimal digits in lower case')

const MOST_EVENTS = 1_000

export const EventsBody = z
  .strictObject({
    events: z
      .array(
        z.strictObject({
          type: id,
          id,
          data: z.record(z.string(), z.unknown()),
          time: z.iso.datetime({ precision: 3 }).optional(),
          clock: z.enum(['wall', 'virtual']).default('wall'),
          causes: z.array(id).max(1_024).default([]),
          correlation: id.optional(),
          seed: id.optional(),
        }),
      )
      .min(1)
      .max(MOST_EVENTS),
  })
  .openapi('Events')

export const EventsAnswer = z.object({ ce_ids: z.array(z.string()) }).openapi('PublishedEvents')

const tensors = z
  .array(
    z.strictObject({
      file: z.enum(MODEL_FILES),
      name: text,
      dtype: z.enum(MODEL_DTYPES),
      shape: z.array(z.int().min(1)).max(8),
    }),
  )
  .max(256)
  .default([])
const channels = z.array(z.number()).max(3)

export const ModelBody = z
  .strictObject({
    role: z.enum(MODEL_ROLES).default('policy'),
    lineage: id,
    version: whole,
    files: z
      .array(z.strictObject({ name: z.enum(MODEL_FILES), sha256: BlobName, bytes: whole }))
      .min(1)
      .max(MODEL_FILES.length),
    parent: text.nullable().default(null),
    trained_on: z.array(text).max(65_536).default([]),
    metrics: z.record(z.string().max(256), z.number()).default({}),
    base: text.nullable().default(null),
    licence: text.nullable().default(null),
    inputs: tensors,
    outputs: tensors,
    normalisation: z
      .strictObject({ width: z.int(), height: z.int(), mean: channels, std: channels })
      .nullable()
      .default(null),
    vocabulary: z
      .array(text)
      .max(2 ** 18)
      .nullable()
      .default(null),
    end_token: whole.nullable().default(null),
    trained_at: z
      .strictObject({ consumer: id, run: id, epoch: z.int().min(1), step: whole })
      .nullable()
      .default(null),
  })
  .openapi('Model')

export const ModelAnswer = z.object({ model_id: z.string(), event_id: z.string() }).openapi('PublishedModel')

const SQL_SECONDS = 60
const MOST_SQL_SECONDS = 600

export const SqlQuery = z.strictObject({
  query: z.string().min(1).max(8_192),
  timeout_s: z.coerce.number().int().min(1).max(MOST_SQL_SECONDS).default(SQL_SECONDS),
})
