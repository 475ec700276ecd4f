import type { BlobRef } from '../../schemas/declare/logical-types.ts'
import { fileOf, type Published } from '../last-published.ts'

type Tensors = Published['inputs']
type Tensor = Tensors[number]

/** A published model that samples completions, as its manifest describes it (docs/models.md, "A policy"). */
export interface Decoder {
  readonly model_id: string
  readonly version: number
  readonly lineage: string
  /** `model.onnx`: `tokens` and what it is conditioned on → `logits` of the next token. */
  readonly weights: BlobRef
  /** Rows of each of its runs: shorter batches are padded, so that its outputs depend on no neighbour's number. */
  readonly rows: number
  /** The longest `tokens`, the end token at its begin included. */
  readonly longest: number
  readonly vocabulary: readonly string[]
  /** Begins `tokens`, and ends a completion. */
  readonly end_token: number
  /** What `model.onnx` reads beside `tokens`. */
  readonly conditions: readonly Condition[]
  /** `encoder.onnx`, run once for each prompt: its outputs are inputs of `model.onnx` by the same names. */
  readonly encoder: Encoder | undefined
  /** What is done to a picture; undefined: neither file reads one. */
  readonly picture: Picture | undefined
  /** Of the prompt in tokens; undefined: neither file reads it. */
  readonly longest_prompt: number | undefined
}

export interface Encoder {
  readonly weights: BlobRef
  readonly rows: number
  readonly conditions: readonly Condition[]
  readonly features: readonly Tensor[]
}

export type Picture = NonNullable<Published['normalisation']>

/** An input that follows from the request. */
export type Condition = 'prompt' | 'image'

/** A model that cannot sample completions: what was expected, and what its manifest says. */
export class MisfitError extends Error {
  override readonly name = 'MisfitError'
  readonly retry = 'never'
}

/** @throws MisfitError */
export function decoderOf(model: Published): Decoder {
  const weights = fileOf(model, 'model.onnx')
  if (weights === undefined) throw new MisfitError('files: expected model.onnx, it is not there')
  const { vocabulary, end_token } = model
  if (vocabulary === null) throw new MisfitError('vocabulary: expected the text of each token, found none')
  if (end_token === null || end_token >= vocabulary.length) {
    throw new MisfitError(
      `end_token: expected a token of the ${vocabulary.length} of the vocabulary, found ${end_token}`,
    )
  }
  const [inputs, outputs] = [of(model.inputs, 'model.onnx'), of(model.outputs, 'model.onnx')]
  const tokens = expectTensor(inputs, 'tokens', { dtype: 'int64', shape: [any, any] })
  const [rows = 0, longest = 0] = tokens.shape
  expectTensor(outputs, 'logits', { dtype: 'float32', shape: [rows, vocabulary.length] })
  const features = of(model.outputs, 'encoder.onnx')
  const conditions: Condition[] = []
  for (const input of inputs) {
    if (input.name === 'tokens') continue
    const is_feature = features.some(({ name }) => name === input.name)
    if (is_feature) expectFeature(input, features, rows)
    else conditions.push(conditionOf(input, rows))
  }
  const encoder = encoderOf(model, inputs)
  const conditioned = [...inputs, ...(encoder === undefined ? [] : of(model.inputs, 'encoder.onnx'))]
  return {
    ...{ model_id: model.model_id, version: model.version, lineage: model.lineage, weights, rows, longest },
    ...{ vocabulary, end_token, conditions, encoder },
    picture: pictureOf(model, conditioned),
    longest_prompt: promptOf(conditioned),
  }
}

/** Any size. */
const any = undefined

const of = (tensors: Tensors, file: Tensor['file']) => tensors.filter((tensor) => tensor.file === file)

function expectTensor(
  tensors: Tensors,
  name: string,
  expected: { readonly dtype: Tensor['dtype']; readonly shape: readonly (number | undefined)[] },
): Tensor {
  const found = tensors.find((tensor) => tensor.name === name)
  const { dtype, shape } = expected
  const sizes = shape.map((size) => size ?? 'any').join(', ')
  const what = `${name}: expected ${dtype} of [${sizes}]`
  if (found === undefined) throw new MisfitError(`${what}, it is not there`)
  const fits =
    found.dtype === dtype &&
    found.shape.length === shape.length &&
    shape.every((size, at) => size === undefined || size === found.shape[at])
  if (!fits) throw new MisfitError(`${what}, found ${found.dtype} of [${found.shape.join(', ')}]`)
  return found
}

function conditionOf(input: Tensor, rows: number): Condition {
  if (input.name === 'prompt') {
    expectTensor([input], 'prompt', { dtype: 'int64', shape: [rows, any] })
    return 'prompt'
  }
  if (input.name === 'image') {
    expectTensor([input], 'image', { dtype: 'float32', shape: [rows, 3, any, any] })
    return 'image'
  }
  throw new MisfitError(
    `input ${input.name} of ${input.file}: expected tokens, prompt, image or an output of encoder.onnx`,
  )
}

function expectFeature(input: Tensor, features: Tensors, rows: number): void {
  const made = features.find(({ name }) => name === input.name)
  const [, ...sizes] = made?.shape ?? []
  expectTensor([input], input.name, { dtype: made?.dtype ?? input.dtype, shape: [rows, ...sizes] })
}

function encoderOf(model: Published, read: Tensors): Encoder | undefined {
  const weights = fileOf(model, 'encoder.onnx')
  if (weights === undefined) return undefined
  const [inputs, features] = [of(model.inputs, 'encoder.onnx'), of(model.outputs, 'encoder.onnx')]
  const rows = inputs[0]?.shape[0] ?? 0
  const conditions = inputs.map((input) => conditionOf(input, rows))
  for (const { name, shape } of features) {
    if (shape[0] !== rows) throw new MisfitError(`${name}: expected ${rows} rows as the inputs have, found ${shape[0]}`)
  }
  const used = features.filter(({ name }) => read.some((input) => input.name === name))
  if (rows === 0 || used.length === 0) {
    throw new MisfitError('encoder.onnx: expected an input, and an output that model.onnx reads by the same name')
  }
  return { weights, rows, conditions, features: used }
}

/** @throws MisfitError unless pictures are made to the size of every input */
function pictureOf({ normalisation }: Published, inputs: Tensors): Picture | undefined {
  for (const { file, shape } of inputs.filter(({ name }) => name === 'image')) {
    const [, , height, width] = shape
    const fits = normalisation?.height === height && normalisation?.width === width
    const of_channels = normalisation?.mean.length === 3 && normalisation.std.length === 3
    if (fits && of_channels && normalisation.std.every((std) => std > 0)) continue
    throw new MisfitError(
      `normalisation: expected width ${width} and height ${height}, as image of ${file} has, and mean and std of three channels, std above 0; found ${JSON.stringify(normalisation)}`,
    )
  }
  return inputs.some(({ name }) => name === 'image') ? (normalisation ?? undefined) : undefined
}

/** @throws MisfitError unless every prompt has one length */
function promptOf(inputs: Tensors): number | undefined {
  const lengths = new Set(inputs.filter(({ name }) => name === 'prompt').map(({ shape }) => shape[1]))
  const [length] = lengths
  if (lengths.size > 1) throw new MisfitError(`prompt: expected one length, found ${[...lengths].join(' and ')}`)
  return length
}
