import { defineEvent } from '../declare/event.ts'
import { ID, NOT_NEGATIVE, TEXT } from '../declare/limits.ts'
import { blob, float64, int32, int64, list, mapOf, nullable, oneOf, struct, utf8 } from '../declare/logical-types.ts'

export const MODEL_ROLES = ['policy', 'encoder', 'physcode', 'world_model', 'router'] as const

/**
 * The files that a model may have. `encoder.onnx` is the part of a policy that is run once for each prompt, before
 * `model.onnx` is run for each token; the other two are a LoRA adapter, as `peft` writes it.
 */
export const MODEL_FILES = ['model.onnx', 'encoder.onnx', 'adapter_model.safetensors', 'adapter_config.json'] as const

/** Element types of the inputs and outputs of a model. */
export const MODEL_DTYPES = ['float16', 'float32', 'float64', 'int32', 'int64', 'uint8', 'bool'] as const

const MAX_TENSORS = 256
const MAX_DIMENSIONS = 8

const tensors = (about: string) =>
  list(
    struct({
      file: oneOf(MODEL_FILES),
      name: utf8(ID),
      dtype: oneOf(MODEL_DTYPES),
      shape: list(int64({ min: 1 }, 'the largest size'), { max_length: MAX_DIMENSIONS }),
    }),
    { max_length: MAX_TENSORS },
    about,
  )

/** What a person or a program needs to know to run a model, apart from its weights. */
export const manifestFields = {
  base: nullable(utf8(ID, 'what an adapter is applied to, as the server names it')),
  licence: nullable(utf8(ID, 'SPDX identifier')),
  inputs: tensors('of each ONNX file; a size that is decided at run time has its maximum here'),
  outputs: tensors('of each ONNX file; one that is larger is refused'),
  normalisation: nullable(
    struct(
      {
        width: int32({ min: 1, max: 4_096 }),
        height: int32({ min: 1, max: 4_096 }),
        mean: list(float64(), { max_length: 3 }, 'of each channel, R, G, B, of values from 0 to 1'),
        std: list(float64({ min: 0 }), { max_length: 3 }),
      },
      'what is done to a picture before it is an input: resized, then (value − mean) / std',
    ),
  ),
  vocabulary: nullable(
    list(utf8(ID), { max_length: 2 ** 18 }, 'of a policy: the text of each token id; empty: a token that is no text'),
  ),
  end_token: nullable(int32(NOT_NEGATIVE, 'a completion ends with it')),
}

/** The fields of a model of which only the weights are known. */
export const NO_MANIFEST = {
  base: null,
  licence: null,
  inputs: [],
  outputs: [],
  normalisation: null,
  vocabulary: null,
  end_token: null,
} satisfies { [K in keyof typeof manifestFields]: unknown }

const rowV2 = {
  model_id: utf8(ID),
  role: oneOf(MODEL_ROLES),
  version: int64(NOT_NEGATIVE, 'counts up within a lineage'),
  lineage: utf8(ID, 'the training run'),
  blob: blob('the weights'),
  parent: nullable(utf8(ID, 'model_id this one was trained from')),
  trained_on: list(utf8(ID), { max_length: 2 ** 20 }, 'group ids or dataset names'),
  metrics: mapOf(float64(), { max_length: 65_536 }),
}

const { blob: _, ...kept } = rowV2

export const modelPublished = defineEvent({
  type: 'model.published',
  version: 3,
  key: 'model_id',
  encoding: 'json',
  retention: 'recorded',
  routing: 'every_partition',
  about: 'A trained model is there to be used.',
  row: {
    ...kept,
    files: list(struct({ name: oneOf(MODEL_FILES), blob: blob() }), { max_length: MODEL_FILES.length }),
    ...manifestFields,
    trained_at: nullable(
      struct(
        {
          consumer: utf8(ID),
          run: utf8(ID),
          epoch: int64({ min: 1 }),
          step: int64(NOT_NEGATIVE, 'the last optimiser step that these weights have taken'),
        },
        'so that the ledger tells which groups made this model; null: no training consumer made it',
      ),
    ),
  },
  earlier: [
    // Was routed by its key, so that only one task of a processor could have read it.
    { version: 1, row: rowV2, routing: 'key' },
    {
      version: 2,
      row: rowV2,
      upcast: ({ blob, ...row }) => ({
        ...row,
        files: [{ name: 'model.onnx', blob }],
        ...NO_MANIFEST,
        trained_at: null,
      }),
    },
  ],
})

export const modelActivated = defineEvent({
  type: 'model.activated',
  version: 1,
  key: 'model_id',
  encoding: 'json',
  retention: 'recorded',
  routing: 'every_partition',
  about: 'A server has loaded a published model and answered with it: from here on it is asked for.',
  row: {
    model_id: utf8(ID),
    lineage: utf8(ID),
    version: int64(NOT_NEGATIVE),
    server: utf8(ID, 'its URL'),
    name: utf8(ID, 'what the server calls it: the lineage, @ and 12 hex digits of a hash of its files'),
    adapter_sha256: utf8(ID),
    files: list(struct({ name: oneOf(MODEL_FILES), blob: blob() }), { max_length: MODEL_FILES.length }),
    base: nullable(utf8(ID, 'what an adapter is applied to, as the server names it')),
    fetch_ms: float64(NOT_NEGATIVE, 'reading its files, checking them and writing them for the server'),
    load_ms: float64(NOT_NEGATIVE),
    warm_ms: float64(NOT_NEGATIVE, 'its first answer'),
  },
})

export const modelRefused = defineEvent({
  type: 'model.refused',
  version: 1,
  key: 'model_id',
  encoding: 'json',
  retention: 'derived',
  about: 'A published model cannot be used by a processor, which goes on with the one before.',
  row: {
    model_id: utf8(ID),
    role: oneOf(MODEL_ROLES),
    version: int64(NOT_NEGATIVE),
    lineage: utf8(ID),
    processor: utf8(ID),
    reason: utf8(TEXT, 'what was expected, and what was found'),
  },
})
