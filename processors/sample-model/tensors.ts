import type { BlobRef } from '../../schemas/declare/logical-types.ts'
import type { ModelTensor, ModelTensors } from '../processor.ts'
import type { Condition, Decoder } from './decoder.ts'

/** What a request gives to its completions. */
export interface Conditions {
  /** At most `longest_prompt`. */
  readonly prompt?: readonly number[] | undefined
  /** float32 of [3, height, width]. */
  readonly image?: Float32Array | undefined
}

/** Outputs of a model are other ones than its manifest says. */
export class MisfitOutputError extends Error {
  override readonly name = 'MisfitOutputError'
  readonly retry = 'never'
}

/**
 * The inputs of a run that follow from requests.
 *
 * @param file what it reads, and its rows
 * @param all of one row each; the rows after them are padded: prompts with the end token, pictures with 0
 */
export function conditionInputs(
  { longest_prompt = 0, picture, end_token }: Decoder,
  { conditions, rows }: { readonly conditions: readonly Condition[]; readonly rows: number },
  all: readonly Conditions[],
): Record<string, ModelTensor> {
  const inputs: Record<string, ModelTensor> = {}
  if (conditions.includes('prompt')) {
    const data = new BigInt64Array(rows * longest_prompt).fill(BigInt(end_token))
    for (const [row, { prompt = [] }] of all.entries()) {
      for (const [at, token] of prompt.entries()) data[row * longest_prompt + at] = BigInt(token)
    }
    inputs.prompt = { dtype: 'int64', shape: [rows, longest_prompt], data }
  }
  if (conditions.includes('image') && picture !== undefined) {
    const shape = [rows, 3, picture.height, picture.width]
    const size = 3 * picture.height * picture.width
    const data = new Float32Array(rows * size)
    for (const [row, { image }] of all.entries()) if (image !== undefined) data.set(image, row * size)
    inputs.image = { dtype: 'float32', shape, data }
  }
  return inputs
}

/** A row of a tensor: [1, …]. */
export function rowOf({ dtype, shape, data }: ModelTensor, row: number): ModelTensor {
  const [, ...sizes] = shape
  const size = sizes.reduce((product, each) => product * each, 1)
  return { dtype, shape: [1, ...sizes], data: data.slice(row * size, (row + 1) * size) } as ModelTensor
}

/** Rows as one tensor, whose other rows are 0. */
export function stacked(all: readonly ModelTensor[], rows: number): ModelTensor {
  const [first] = all
  if (first === undefined) throw new Error('expected at least one row')
  const { dtype, shape, data } = first
  const out = new (data.constructor as new (length: number) => typeof data)(rows * data.length)
  for (const [row, one] of all.entries()) out.set(one.data as never, row * data.length)
  return { dtype, shape: [rows, ...shape.slice(1)], data: out } as ModelTensor
}

/** @throws MisfitOutputError */
export function expectOutput(
  outputs: ModelTensors,
  name: string,
  dtype: ModelTensor['dtype'],
  shape: readonly number[],
  { sha256 }: BlobRef,
): ModelTensor {
  const found = outputs[name]
  if (found?.dtype === dtype && String(found.shape) === String(shape)) return found
  const text = found === undefined ? 'nothing' : `${found.dtype} of [${found.shape.join(', ')}]`
  throw new MisfitOutputError(
    `output ${name} of model ${sha256}: expected ${dtype} of [${shape.join(', ')}], as its manifest says; found ${text}`,
  )
}
