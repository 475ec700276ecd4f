/** The program of a child process that runs models for the one that started it. */
import { InferenceSession, Tensor } from 'onnxruntime-node'
import type { ModelTensor, ModelTensors } from '../../processors/processor.ts'
import { endWithStarter } from '../compute/orphan-watch.ts'
import { answerStarter } from '../supervise/answer-starter.ts'

/** One thread, in a fixed order: the same inputs then give the same outputs. */
const OPTIONS: InferenceSession.SessionOptions = {
  executionProviders: ['cpu'],
  executionMode: 'sequential',
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  graphOptimizationLevel: 'all',
  // Errors only: they come as exceptions too.
  logSeverityLevel: 3,
}

/**
 * The runtime's compiled part knows float16 as Uint16Array only, and its JavaScript passes it a Float16Array wherever
 * there is such a class when the first tensor is made.
 */
const Half = globalThis.Float16Array
Reflect.deleteProperty(globalThis, 'Float16Array')

const sessions = new Map<string, InferenceSession>()

endWithStarter()
answerStarter({
  async load(options) {
    const { sha256, weights } = options as { readonly sha256: string; readonly weights: Uint8Array }
    sessions.set(sha256, await naming(sha256, () => InferenceSession.create(weights, OPTIONS)))
  },
  async unload(options) {
    const { sha256 } = options as { readonly sha256: string }
    await sessions.get(sha256)?.release()
    sessions.delete(sha256)
  },
  async run(options) {
    const { sha256, inputs } = options as { readonly sha256: string; readonly inputs: ModelTensors }
    const session = sessions.get(sha256)
    if (session === undefined) throw new Error(`model ${sha256} is not loaded`)
    return await naming(sha256, async () => {
      const feeds = Object.entries(inputs).map(([name, tensor]) => [name, tensorFrom(tensor)] as const)
      const results = await session.run(Object.fromEntries(feeds))
      return Object.fromEntries(Object.entries(results).map(([name, tensor]) => [name, tensorIn(name, tensor)]))
    })
  },
  async close() {},
})

/** @throws the runtime's error, with the model's hash */
async function naming<T>(sha256: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    throw new Error(`model ${sha256}: ${(error as Error).message}`)
  }
}

function tensorFrom({ dtype, data, shape }: ModelTensor): Tensor {
  if (dtype !== 'float16') return new Tensor(dtype, data as never, shape)
  return new Tensor(dtype, new Uint16Array(data.buffer, data.byteOffset, data.length), shape)
}

/** @throws Error for texts and other types that no event holds */
function tensorIn(name: string, { type, dims, data }: Tensor): ModelTensor {
  if (!DTYPES.has(type)) throw new Error(`output ${name} is of type ${type}: expected ${[...DTYPES].join(', ')}`)
  const shape = [...dims]
  if (type !== 'float16') return { dtype: type, shape, data } as ModelTensor
  const { buffer, byteOffset, length } = data as Uint16Array<ArrayBuffer>
  return { dtype: type, shape, data: new Half(buffer, byteOffset, length) }
}

const DTYPES: ReadonlySet<string> = new Set(['float16', 'float32', 'float64', 'int32', 'int64', 'uint8', 'bool'])
