import fc from 'fast-check'
import { expect, test } from 'vitest'
import { linearOnnx, type TinyModel, tinyOnnx } from '../../../testing/tiny-onnx.ts'
import { type ModelFile, type ModelManifest, modelFaults } from './check-model.ts'
import { NotOnnxError, readOnnx } from './onnx-file.ts'

const tensor = (name: string, shape: readonly number[]) => ({
  ...{ file: 'model.onnx' as const, name, dtype: 'float32' as const, shape },
})
const manifest: ModelManifest = {
  ...{ base: null, inputs: [tensor('x', [8, 2])], outputs: [tensor('y', [8, 2])] },
}
const linear: TinyModel = {
  nodes: [{ op: 'Add', inputs: ['x', 'offset'], outputs: ['y'] }],
  inputs: [{ name: 'x', type: 'float32', shape: ['n', 2] }],
  outputs: [{ name: 'y', type: 'float32', shape: ['n', 2] }],
  constants: [{ name: 'offset', shape: [1], data: Float32Array.of(1) }],
}
const files = (bytes: Uint8Array) => new Map<ModelFile, Uint8Array>([['model.onnx', bytes]])
const onnx = (changed: Partial<TinyModel>) => files(tinyOnnx({ ...linear, ...changed }))

const faults = (of: ReadonlyMap<ModelFile, Uint8Array>, changed: Partial<ModelManifest> = {}) =>
  modelFaults(of, { ...manifest, ...changed })

test('a model that is what its manifest says can be published', () => {
  expect(faults(files(linearOnnx(2, 1)))).toEqual([])
})

const foreign = [{ op: 'Evil', inputs: ['x'], outputs: ['y'], domain: 'com.example' }]
const outside = [{ name: 'offset', shape: [1], data: Float32Array.of(1), location: '../../etc/passwd' }]

test.each<[string, ReadonlyMap<ModelFile, Uint8Array>, Partial<ModelManifest>, RegExp]>([
  ['is none', files(Buffer.from('%PDF-1.7 and more')), {}, /^model.onnx: expected an ONNX model, found/],
  ['is empty', files(new Uint8Array()), {}, /^model.onnx: expected an ONNX model, found no graph with outputs/],
  ['is a pickle', files(Buffer.from('80049514', 'hex')), {}, /^model.onnx: expected an ONNX model/],
  ['is an archive', files(Buffer.from('504b030414000000', 'hex')), {}, /^model.onnx: expected an ONNX model/],
  ['has operators of others', onnx({ nodes: foreign }), {}, /operator com.example.Evil: expected operators of ONNX/],
  ['has data outside of it', onnx({ constants: outside }), {}, /tensor offset: expected its data in the file/],
  ['has other inputs', files(linearOnnx(1, 1)), { inputs: [tensor('image', [8, 2])] }, /has image, the file x$/],
  ['has fewer outputs', files(linearOnnx(1, 1)), { outputs: [] }, /outputs: the manifest has none, the file y/],
  [
    'has another input size',
    files(linearOnnx(1, 1)),
    { inputs: [tensor('x', [8, 3])] },
    /input x: the manifest has \[8, 3\], the file \[n, 2\]/,
  ],
  [
    'has larger outputs',
    files(linearOnnx(1, 1)),
    { outputs: [tensor('y', [8, 1])] },
    /y: the manifest has at most \[8, 1\]/,
  ],
  [
    'would have outputs of gigabytes',
    onnx({ outputs: [{ name: 'y', type: 'float32', shape: ['n', 'm'] }] }),
    { outputs: [tensor('y', [2 ** 20, 2 ** 20])] },
    /output y: expected at most 268435456 bytes, the manifest allows 4398046511104/,
  ],
  [
    'has another type',
    onnx({ inputs: [{ name: 'x', type: 'int64', shape: ['n', 2] }] }),
    {},
    /input x: the manifest has the type float32, the file int64/,
  ],
  ['has no files', new Map(), {}, /^files: expected model.onnx, .*; found none/],
])('a model that %s is refused, with what was expected and found', (_, of, changed, message) => {
  expect(faults(of, changed).join('\n')).toMatch(message)
})

test('a damaged file is read or refused, and nothing else', () => {
  const changes = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 6 })
  const property = fc.property(changes, fc.nat(), (changed, length) => {
    const bytes = Uint8Array.from(linearOnnx(2, 1))
    for (const [at, value] of changed) bytes[at % bytes.length] = value
    try {
      readOnnx(bytes.subarray(0, length % (bytes.length + 1)))
    } catch (error) {
      expect(error).toBeInstanceOf(NotOnnxError)
    }
  })
  fc.assert(property, { numRuns: 2_000 })
})

const safetensors = (header: Readonly<Record<string, unknown>>, data: number) => {
  const text = Buffer.from(JSON.stringify(header))
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(text.length))
  return Buffer.concat([size, text, Buffer.alloc(data)])
}
const LORA = 'base_model.model.layers.0.q_proj.lora_A.weight'
const weights = safetensors({ [LORA]: { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] } }, 16)
const options = {
  peft_type: 'LORA',
  r: 16,
  lora_alpha: 16,
  target_modules: ['q_proj'],
  base_model_name_or_path: 'Qwen/X',
}
const adapter = (config: object, bytes: Uint8Array = weights) =>
  new Map<ModelFile, Uint8Array>([
    ['adapter_config.json', Buffer.from(JSON.stringify(config))],
    ['adapter_model.safetensors', bytes],
  ])
const based: Partial<ModelManifest> = { base: 'Qwen/X', inputs: [], outputs: [] }

test('an adapter as peft writes it can be published, with options that say nothing', () => {
  expect(faults(adapter({ ...options, auto_mapping: null, modules_to_save: [], megatron_config: {} }), based)).toEqual(
    [],
  )
})

test.each<[string, ReadonlyMap<ModelFile, Uint8Array>, RegExp]>([
  ['of another base', adapter({ ...options, base_model_name_or_path: '/root/x' }), /expected "Qwen\/X", as the manif/],
  [
    'with code to load',
    adapter({ ...options, auto_mapping: { parent_library: 'os' } }),
    /^adapter_config.json: auto_m/,
  ],
  ['of another kind', adapter({ ...options, peft_type: 'PROMPT_TUNING' }), /peft_type: expected LORA/],
  ['that is a pickle', adapter(options, Buffer.from('80049514', 'hex')), /expected a safetensors file, found one of 4/],
  [
    'that lacks data',
    adapter(options, safetensors({ [LORA]: { dtype: 'F32', shape: [2, 2], data_offsets: [0, 16] } }, 8)),
    /expected 16 bytes of data, found 8/,
  ],
  [
    'with other weights',
    adapter(options, safetensors({ lm_head: { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }, 4)),
    /tensor lm_head: expected weights of LoRA alone/,
  ],
  [
    'whose tensors overlap',
    adapter(
      options,
      safetensors(
        {
          [LORA]: { dtype: 'F32', shape: [1], data_offsets: [0, 4] },
          [`${LORA}.2`]: { dtype: 'F32', shape: [1], data_offsets: [2, 6] },
        },
        6,
      ),
    ),
    /expected its data at 4, found it at 2/,
  ],
])('an adapter %s is refused', (_, of, message) => {
  expect(faults(of, based).join('\n')).toMatch(message)
})

test('an adapter without a base is refused', () => {
  expect(faults(adapter(options), { inputs: [], outputs: [] }).join()).toMatch(/^base: expected what the adapter/)
})
