import { z } from 'zod'
import type { Event } from '../schemas/declare/event.ts'
import { type MODEL_ROLES, modelPublished } from '../schemas/events/model.ts'
import { type Broadcast, isA } from './processor.ts'

const published = z.object({
  model_id: z.string(),
  version: z.int(),
  lineage: z.string(),
  blob: z.object({ sha256: z.string(), bytes: z.int(), media_type: z.string() }),
  time: z.string(),
})

/** A published model, as much of it as its use needs. */
export type Published = z.infer<typeof published>

/**
 * Broadcast state: the model of a role that was published last, null before the first. Within a lineage that is the
 * highest version, between lineages the latest `ce_time`, so that a redelivered event brings no older model back.
 */
export function lastPublished(role: (typeof MODEL_ROLES)[number]): Broadcast<Published | null> {
  return {
    inputs: [modelPublished],
    version: 1,
    schema: published.nullable(),
    initial: null,
    apply(current, event) {
      if (!isA(event, modelPublished) || event.data.role !== role) return current
      return current === null || isLater(event, current) ? asPublished(event) : current
    },
  }
}

function isLater({ time, data }: Event<typeof modelPublished>, current: Published): boolean {
  if (data.lineage === current.lineage) return data.version > current.version
  return time === current.time ? data.model_id > current.model_id : time > current.time
}

function asPublished({ time, data }: Event<typeof modelPublished>): Published {
  const { model_id, version, lineage, blob } = data
  const { sha256, bytes, media_type } = blob
  return { model_id, version, lineage, blob: { sha256, bytes, media_type }, time }
}
