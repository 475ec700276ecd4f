import { random } from '../environments/tower/random.ts'
import type { DataOf } from '../schemas/declare/event.ts'
import type { modelPublished } from '../schemas/events/model.ts'
import { NO_MANIFEST } from '../schemas/events/model.ts'
import { type TinyModel, tinyOnnx } from './tiny-onnx.ts'

/** The characters that the towers' answers have. Token 0 ends a completion; the last one is no text. */
export const VOCABULARY = ['', ...'0123456789.-(), ', '']
export const ROWS = 4
export const LONGEST = 12
const WIDTH = 6
const PICTURE = 16

type Manifest = Pick<
  DataOf<typeof modelPublished>,
  'inputs' | 'outputs' | 'vocabulary' | 'end_token' | 'normalisation' | 'base' | 'licence'
>

export interface TinyDecoder {
  readonly files: ReadonlyMap<'model.onnx' | 'encoder.onnx', Uint8Array>
  readonly manifest: Manifest
}

/**
 * A policy with random weights: logits = (Σ embedding of tokens + Σ embedding of the prompt + features) · weights. With
 * a picture, the features are the mean colours of a picture, by an encoder of its own.
 */
export function tinyDecoder(
  seed: string,
  reads: { readonly image?: boolean; readonly prompt?: number } = {},
): TinyDecoder {
  const draw = random('tiny decoder', seed)
  const normals = (count: number) => Float32Array.from({ length: count }, () => draw.normal())
  const size = VOCABULARY.length
  const { image = false, prompt } = reads
  const model: TinyModel = {
    nodes: [
      { op: 'Gather', inputs: ['embedding', 'tokens'], outputs: ['embedded'] },
      { op: 'ReduceSum', inputs: ['embedded', 'axis'], outputs: ['summed'], attributes: { keepdims: 0 } },
      ...(prompt === undefined
        ? [{ op: 'Identity', inputs: ['summed'], outputs: ['asked'] }]
        : [
            { op: 'Gather', inputs: ['embedding', 'prompt'], outputs: ['embedded_prompt'] },
            {
              op: 'ReduceSum',
              inputs: ['embedded_prompt', 'axis'],
              outputs: ['summed_prompt'],
              attributes: { keepdims: 0 },
            },
            { op: 'Add', inputs: ['summed', 'summed_prompt'], outputs: ['asked'] },
          ]),
      ...(image
        ? [
            { op: 'MatMul', inputs: ['features', 'from_picture'], outputs: ['seen'] },
            { op: 'Add', inputs: ['asked', 'seen'], outputs: ['hidden'] },
          ]
        : [{ op: 'Identity', inputs: ['asked'], outputs: ['hidden'] }]),
      { op: 'Tanh', inputs: ['hidden'], outputs: ['bounded'] },
      { op: 'MatMul', inputs: ['bounded', 'weights'], outputs: ['logits'] },
    ],
    inputs: [
      { name: 'tokens', type: 'int64', shape: [ROWS, 'length'] },
      ...(prompt === undefined ? [] : [{ name: 'prompt', type: 'int64' as const, shape: [ROWS, prompt] }]),
      ...(image ? [{ name: 'features', type: 'float32' as const, shape: [ROWS, 3] }] : []),
    ],
    outputs: [{ name: 'logits', type: 'float32', shape: [ROWS, size] }],
    constants: [
      { name: 'embedding', shape: [size, WIDTH], data: normals(size * WIDTH) },
      { name: 'weights', shape: [WIDTH, size], data: normals(WIDTH * size) },
      { name: 'axis', shape: [1], data: BigInt64Array.of(1n) },
      ...(image ? [{ name: 'from_picture', shape: [3, WIDTH], data: normals(3 * WIDTH) }] : []),
    ],
  }
  const encoder: TinyModel = {
    nodes: [
      { op: 'GlobalAveragePool', inputs: ['image'], outputs: ['pooled'] },
      { op: 'Flatten', inputs: ['pooled'], outputs: ['features'] },
    ],
    inputs: [{ name: 'image', type: 'float32', shape: [1, 3, PICTURE, PICTURE] }],
    outputs: [{ name: 'features', type: 'float32', shape: [1, 3] }],
  }
  const named = (file: 'model.onnx' | 'encoder.onnx', { inputs, outputs }: TinyModel) => {
    const sizes = (shape: readonly (number | string)[]) => shape.map((one) => (typeof one === 'number' ? one : LONGEST))
    const tensors = (all: TinyModel['inputs']) =>
      all.map(({ name, type, shape }) => ({ file, name, dtype: type, shape: sizes(shape) }))
    return { inputs: tensors(inputs), outputs: tensors(outputs) }
  }
  const [own, of_encoder] = [named('model.onnx', model), named('encoder.onnx', encoder)]
  return {
    files: new Map([
      ['model.onnx' as const, tinyOnnx(model)],
      ...(image ? [['encoder.onnx' as const, tinyOnnx(encoder)] as const] : []),
    ]),
    manifest: {
      ...NO_MANIFEST,
      inputs: [...own.inputs, ...(image ? of_encoder.inputs : [])],
      outputs: [...own.outputs, ...(image ? of_encoder.outputs : [])],
      normalisation: image ? { width: PICTURE, height: PICTURE, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] } : null,
      vocabulary: VOCABULARY,
      end_token: 0,
    },
  }
}
