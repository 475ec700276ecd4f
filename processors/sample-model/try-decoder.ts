import type { BlobRef } from '../../schemas/declare/logical-types.ts'
import type { Models } from '../processor.ts'
import type { Decoder } from './decoder.ts'
import { conditionInputs, expectOutput, rowOf, stacked } from './tensors.ts'

/**
 * Loads the files of a decoder and runs them once with `tokens` of length 1 and once of the longest: what does not fit
 * fails here, and the first completion need not wait for the files.
 *
 * @throws what the model's runtime says; MisfitOutputError; Error for logits that are no numbers
 */
export async function tryDecoder(decoder: Decoder, models: Models): Promise<void> {
  const { weights, rows, longest, vocabulary, end_token, encoder } = decoder
  const fixed = conditionInputs(decoder, decoder, [])
  if (encoder !== undefined) {
    const outputs = await models.run(encoder.weights, conditionInputs(decoder, encoder, []))
    for (const { name, dtype, shape } of encoder.features) {
      fixed[name] = stacked([rowOf(expectOutput(outputs, name, dtype, shape, encoder.weights), 0)], rows)
    }
  }
  for (const length of new Set([1, longest])) {
    const data = new BigInt64Array(rows * length).fill(BigInt(end_token))
    const outputs = await models.run(weights, { ...fixed, tokens: { dtype: 'int64', shape: [rows, length], data } })
    const logits = expectOutput(outputs, 'logits', 'float32', [rows, vocabulary.length], weights)
    expectNumbers(logits.data as Float32Array, weights)
  }
}

function expectNumbers(logits: Float32Array, { sha256 }: BlobRef): void {
  const at = logits.findIndex((logit) => !Number.isFinite(logit))
  if (at >= 0) throw new Error(`logits of model ${sha256}: expected numbers, found ${logits[at]}`)
}
