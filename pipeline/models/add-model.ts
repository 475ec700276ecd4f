import type { Blobs } from '../../infra/blobs/blobs.ts'
import type { Log } from '../../infra/log/port/log.ts'
import { type ModelFile, modelFaults } from '../../infra/models/check/check-model.ts'
import { NotOnnxError, type OnnxValue, readOnnx } from '../../infra/models/check/onnx-file.ts'
import type { DataOf } from '../../schemas/declare/event.ts'
import { MODEL_FILES, type modelPublished } from '../../schemas/events/model.ts'
import type { Partitions } from '../../schemas/wire/partitions.ts'
import { FileError, openPlainFile } from '../../sources/plain-file.ts'
import { MAX_MODEL_BYTES, ModelPublisher, type ModelToPublish } from '../../sources/published-model.ts'
import { UsageError } from '../usage-error.ts'
import { readModels } from './read-models.ts'

type Published = DataOf<typeof modelPublished>
type Tensor = Published['inputs'][number]

export interface AddModel {
  /** Paths; each file's own name says which one of the model it is. */
  readonly files: readonly string[]
  readonly lineage: string
  /** Default: the one after the last of the lineage. */
  readonly version?: number
  /** The rest of `model.published`, where it is known. Inputs and outputs default to what the ONNX files say. */
  readonly manifest: Partial<Omit<ModelToPublish, 'files' | 'lineage' | 'version'>>
  /** The largest size of each dimension that is decided at run time, by its name in the file or as `TENSOR.AXIS`. */
  readonly sizes: ReadonlyMap<string, number>
}

const MEDIA_TYPES: Readonly<Record<ModelFile, string>> = {
  'model.onnx': 'application/onnx',
  'encoder.onnx': 'application/onnx',
  'adapter_model.safetensors': 'application/octet-stream',
  'adapter_config.json': 'application/json',
}

/**
 * Stores the files of a model and publishes it: nobody but this command has to know how.
 *
 * @returns the model's id, and whether it was published before with the same contents
 * @throws UsageError for files that are not those of a model, or whose sizes are missing; FileError for one that cannot
 * be read
 */
export async function addModel(
  place: { readonly log: Log; readonly blobs: Blobs; readonly partitions: Partitions },
  { files, lineage, version, manifest, sizes }: AddModel,
): Promise<{ readonly model_id: string; readonly published: 'now' | 'before' }> {
  const bytes = await readFiles(files)
  const model: ModelToPublish = {
    ...{ role: 'policy', parent: null, trained_on: [], metrics: {}, trained_at: null },
    ...{ base: null, licence: null, normalisation: null, vocabulary: null, end_token: null },
    ...(manifest.inputs === undefined || manifest.outputs === undefined
      ? tensorsOf(bytes, sizes)
      : { inputs: [], outputs: [] }),
    ...manifest,
    lineage,
    version: version ?? (await nextVersion(place, lineage)),
    files: [],
  }
  const faults = modelFaults(bytes, model)
  if (faults.length > 0) throw new UsageError(`the model was not published: ${faults.join('; ')}`, 'see docs/models.md')
  const stored = await Promise.all(
    [...bytes].map(async ([name, content]) => ({ name, blob: await place.blobs.put(content, MEDIA_TYPES[name]) })),
  )
  const publisher = new ModelPublisher({ ...place, check: async (given, now) => modelFaults(given, now) })
  const whole = { ...model, files: stored.sort((one, other) => (one.name < other.name ? -1 : 1)) }
  const answer = (await publisher.prepare(whole)) ?? (await publisher.publish(whole, 'models-add'))
  if ('refused' in answer) throw new UsageError(`the model was not published: ${answer.message}`, 'see docs/models.md')
  return { model_id: answer.model_id, published: answer.published }
}

async function readFiles(paths: readonly string[]): Promise<Map<ModelFile, Uint8Array>> {
  const files = new Map<ModelFile, Uint8Array>()
  let left = MAX_MODEL_BYTES
  for (const path of paths) {
    const name = MODEL_FILES.find((one) => path.split(/[/\\]/).at(-1) === one)
    if (name === undefined || files.has(name)) {
      const what = name === undefined ? 'one of' : 'each once of'
      throw new UsageError(`${path}: expected ${what} ${MODEL_FILES.join(', ')}`, 'rename the file')
    }
    const handle = await openPlainFile(path)
    try {
      const { size } = await handle.stat()
      left -= size
      if (left < 0) {
        throw new FileError(`${path}: expected at most ${MAX_MODEL_BYTES} bytes in all files`, 'publish an adapter')
      }
      files.set(name, await handle.readFile())
    } finally {
      await handle.close()
    }
  }
  return files
}

async function nextVersion(place: Parameters<typeof readModels>[0], lineage: string): Promise<number> {
  const versions = (await readModels(place)).filter((model) => model.lineage === lineage).map(({ version }) => version)
  return Math.max(-1, ...versions) + 1
}

/** Inputs and outputs as the ONNX files have them, with the given sizes where a file has none. */
function tensorsOf(files: ReadonlyMap<ModelFile, Uint8Array>, sizes: AddModel['sizes']) {
  const inputs: Tensor[] = []
  const outputs: Tensor[] = []
  const missing = new Set<string>()
  for (const [file, bytes] of files) {
    const found = file.endsWith('.onnx') ? structureOf(bytes) : undefined
    for (const value of found?.inputs ?? []) inputs.push(...tensorOf(file, value, sizes, missing))
    for (const value of found?.outputs ?? []) outputs.push(...tensorOf(file, value, sizes, missing))
  }
  if (missing.size > 0) {
    const [first] = missing
    throw new UsageError(
      `sizes that are decided at run time: expected the largest of ${[...missing].join(', ')}`,
      `e.g. --size ${first}=64`,
    )
  }
  return { inputs, outputs }
}

/** Undefined for what is no ONNX file: `modelFaults` says so. */
function structureOf(bytes: Uint8Array) {
  try {
    return readOnnx(bytes)
  } catch (error) {
    if (error instanceof NotOnnxError) return undefined
    throw error
  }
}

function tensorOf(file: ModelFile, value: OnnxValue, sizes: AddModel['sizes'], missing: Set<string>): Tensor[] {
  const { name, dtype, shape } = value
  // A kind of value that no event holds: `modelFaults` names it.
  if (dtype === undefined || shape === undefined) return []
  const whole = shape.map((size, axis) => {
    const place = `${name}.${axis}`
    const known = typeof size === 'number' ? size : (sizes.get(place) ?? sizes.get(size))
    if (known === undefined) missing.add(size === '' ? place : String(size))
    return known ?? 1
  })
  return [{ file, name, dtype, shape: whole }]
}
