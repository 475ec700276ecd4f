import { z } from 'zod'
import type { Event } from '../schemas/declare/event.ts'
import type { BlobRef } from '../schemas/declare/logical-types.ts'
import { MODEL_DTYPES, MODEL_FILES, type MODEL_ROLES, modelPublished, NO_MANIFEST } from '../schemas/events/model.ts'
import { modelFiles } from './model-files.ts'
import { type Broadcast, isA } from './processor.ts'

const tensors = z
  .array(
    z.object({
      file: z.enum(MODEL_FILES),
      name: z.string(),
      dtype: z.enum(MODEL_DTYPES),
      shape: z.array(z.int()).readonly(),
    }),
  )
  .readonly()
const published = z.object({
  model_id: z.string(),
  version: z.int(),
  lineage: z.string(),
  files: modelFiles,
  base: z.string().nullable(),
  inputs: tensors,
  outputs: tensors,
  normalisation: z
    .object({
      width: z.int(),
      height: z.int(),
      mean: z.array(z.number()).readonly(),
      std: z.array(z.number()).readonly(),
    })
    .nullable(),
  vocabulary: z.array(z.string()).readonly().nullable(),
  end_token: z.int().nullable(),
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
    name: `published/${role}`,
    inputs: [modelPublished],
    version: 2,
    schema: published.nullable(),
    upcast: { 1: withFiles },
    initial: null,
    apply(current, event) {
      if (!isA(event, modelPublished) || event.data.role !== role) return current
      return current === null || isLater(event, current) ? asPublished(event) : current
    },
  }
}

/** Version 1 had the weights alone. */
function withFiles(state: unknown): unknown {
  if (state === null) return null
  const { blob, ...rest } = state as { readonly blob: BlobRef }
  const { licence, ...manifest } = NO_MANIFEST
  return { ...rest, ...manifest, files: [{ name: 'model.onnx', blob }] }
}

function isLater({ time, data }: Event<typeof modelPublished>, current: Published): boolean {
  if (data.lineage === current.lineage) return data.version > current.version
  return time === current.time ? data.model_id > current.model_id : time > current.time
}

function asPublished({ time, data }: Event<typeof modelPublished>): Published {
  const { model_id, version, lineage, files, base, inputs, outputs, vocabulary, end_token, normalisation } = data
  return { model_id, version, lineage, files, base, inputs, outputs, vocabulary, end_token, normalisation, time }
}

/** One of the files of a model. */
export const fileOf = ({ files }: Pick<Published, 'files'>, name: (typeof MODEL_FILES)[number]): BlobRef | undefined =>
  files.find((file) => file.name === name)?.blob
