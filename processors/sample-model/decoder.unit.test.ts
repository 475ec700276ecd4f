import { expect, test } from 'vitest'
import { tinyDecoder } from '../../testing/tiny-decoder.ts'
import type { Published } from '../last-published.ts'
import { decoderOf } from './decoder.ts'

function publishedModel(reads: Parameters<typeof tinyDecoder>[1] = {}): Published {
  const { files, manifest } = tinyDecoder('a', reads)
  const named = [...files.keys()].map((name) => ({ name, blob: { sha256: name, bytes: 1, media_type: '' } }))
  return { ...manifest, files: named, model_id: 'm', version: 3, lineage: 'l', time: '' }
}

test('a decoder reads tokens, and what its manifest says beside them', () => {
  expect(decoderOf(publishedModel())).toMatchObject({ rows: 4, longest: 12, conditions: [], version: 3 })
  expect(decoderOf(publishedModel({ prompt: 5 }))).toMatchObject({ conditions: ['prompt'], longest_prompt: 5 })
  expect(decoderOf(publishedModel({ image: true }))).toMatchObject({
    conditions: [],
    encoder: { rows: 1, conditions: ['image'], features: [{ name: 'features' }] },
    picture: { width: 16, height: 16 },
  })
})

const sound = publishedModel({ image: true, prompt: 5 })
const withTensor = (name: string, change: object) => {
  const changed = (tensors: Published['inputs']) =>
    tensors.map((tensor) => (tensor.name === name ? { ...tensor, ...change } : tensor))
  return { inputs: changed(sound.inputs), outputs: changed(sound.outputs) }
}

test.each<[string, Partial<Published>, string]>([
  ['without its weights', { files: [] }, 'files: expected model.onnx'],
  ['without a vocabulary', { vocabulary: null }, 'vocabulary: expected the text of each token'],
  ['without an end token', { end_token: null }, 'end_token: expected a token of the 18'],
  ['with an end token beyond the vocabulary', { end_token: 18 }, 'found 18'],
  ['with other tokens', withTensor('tokens', { dtype: 'int32' }), 'tokens: expected int64 of [any, any], found int32'],
  [
    'with other logits',
    withTensor('logits', { shape: [4, 9] }),
    'logits: expected float32 of [4, 18], found float32 of [4, 9]',
  ],
  [
    'with a foreign input',
    withTensor('prompt', { name: 'past_keys' }),
    'input past_keys of model.onnx: expected tokens, prompt',
  ],
  ['with a prompt of other rows', withTensor('prompt', { shape: [2, 5] }), 'prompt: expected int64 of [4, any]'],
  [
    'with pictures of another size',
    { normalisation: { width: 8, height: 16, mean: [0, 0, 0], std: [1, 1, 1] } },
    'expected width 16',
  ],
  ['without what makes its pictures', { normalisation: null }, 'normalisation: expected width 16'],
])('a model %s is no decoder', (_, change, says) => {
  expect(() => decoderOf({ ...sound, ...change })).toThrow(says)
})
