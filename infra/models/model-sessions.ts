import { ModelAwayError, type ModelTensors } from '../../processors/processor.ts'
import type { BlobRef } from '../../schemas/declare/logical-types.ts'
import { BlobCorruptError, BlobMissingError, type Blobs } from '../blobs/blobs.ts'
import { DEFAULT_LIMITS, type Limits } from '../compute/admission.ts'
import { sizeOfValue } from '../compute/buffers.ts'
import { PROCESS_MEMORY } from '../compute/compute.ts'
import type { ProcessPool } from '../compute/process-pool.ts'
import type { SupervisedChild } from '../supervise/supervised-child.ts'

export interface ModelOptions {
  /** Memory limit of the process that has the models loaded, bytes. */
  readonly memory?: number
  /** Models that stay loaded. */
  readonly loaded?: number
  /** Of the calls that run or wait. */
  readonly limits?: Limits
}

/** The one in use, the next one, and those of other roles. */
const LOADED = 4

/**
 * Models in one supervised child process: whoever published them, they can end or fill that process only. Each is loaded
 * when it is first used; the one that was used least recently is unloaded for it.
 */
export class ModelSessions {
  readonly #options: Required<ModelOptions>
  #pool: Promise<ProcessPool> | undefined
  /** By process: hashes of its loaded models, the most recently used last. */
  readonly #loaded = new WeakMap<SupervisedChild, Set<string>>()

  constructor({ memory = PROCESS_MEMORY, loaded = LOADED, limits = DEFAULT_LIMITS }: ModelOptions = {}) {
    this.#options = { memory, loaded, limits }
  }

  /** See `Models.run`. */
  async run(
    model: BlobRef,
    inputs: ModelTensors,
    { blobs, signal }: { readonly blobs: Pick<Blobs, 'get'>; readonly signal: AbortSignal },
  ): Promise<ModelTensors> {
    const { sha256 } = model
    const bytes = sizeOfValue(inputs)
    const pool = await this.#open()
    return await pool.run(`model ${sha256}`, bytes, signal, async (child) => {
      await this.#load(child, model, blobs, signal)
      return await child.call<ModelTensors>('run', { sha256, inputs })
    })
  }

  async #load(child: SupervisedChild, model: BlobRef, blobs: Pick<Blobs, 'get'>, signal: AbortSignal): Promise<void> {
    const loaded = this.#loaded.get(child) ?? new Set()
    this.#loaded.set(child, loaded)
    const { sha256 } = model
    if (!loaded.delete(sha256)) {
      const weights = await weightsOf(model, blobs, signal)
      for (const oldest of [...loaded].slice(0, Math.max(0, loaded.size - this.#options.loaded + 1))) {
        await child.call('unload', { sha256: oldest })
        loaded.delete(oldest)
      }
      await child.call('load', { sha256, weights })
    }
    loaded.add(sha256)
  }

  /** The first call loads the code: most programs run no model. */
  #open(): Promise<ProcessPool> {
    this.#pool ??= import('../compute/process-pool.ts').then(({ ProcessPool }) => {
      const { memory, limits } = this.#options
      const entry = new URL('./model-process.ts', import.meta.url)
      return new ProcessPool({ entry, what: 'the model process', classes: [], processes: 1, memory, limits })
    })
    return this.#pool
  }

  /** Waits for the calls under way, then ends the process. */
  async close(): Promise<void> {
    await (await this.#pool)?.close()
  }
}

async function weightsOf(model: BlobRef, blobs: Pick<Blobs, 'get'>, signal: AbortSignal): Promise<Uint8Array> {
  try {
    return await blobs.get(model, { signal })
  } catch (error) {
    if (!(error instanceof BlobMissingError || error instanceof BlobCorruptError)) throw error
    throw new ModelAwayError(`the weights of a published model cannot be read: ${error.message}`)
  }
}

let shared: ModelSessions | undefined

/** The sessions of this process: every stage shares them. They end with the process. */
export function sharedModels(): ModelSessions {
  shared ??= new ModelSessions()
  return shared
}
