import type { Random } from '../../environments/tower/random.ts'
import type { Models, ModelTensor } from '../processor.ts'
import type { Decoder } from './decoder.ts'
import { draw, type Sampling } from './draw.ts'
import { type Conditions, conditionInputs, expectOutput, rowOf, stacked } from './tensors.ts'

/** One completion to be sampled. */
export interface Asked {
  readonly conditions: Conditions
  readonly sampling: Sampling
  readonly max_tokens: number
  /** It ends with the token that completes one of these texts. */
  readonly stop: readonly string[]
  readonly stream: Random
}

export interface Completion {
  readonly tokens: readonly number[]
  readonly logprobs: readonly number[]
  /** Up to the stop text, without the end token. */
  readonly text: string
  readonly finish_reason: 'stop' | 'length'
}

/**
 * Samples completions, `rows` at a time. Each run of the model has as many rows, padded with the end token.
 *
 * @throws what the model's runtime says; MisfitOutputError for other outputs than the manifest says
 */
export async function decode(decoder: Decoder, asked: readonly Asked[], models: Models): Promise<Completion[]> {
  const features = await encode(decoder, [...new Set(asked.map(({ conditions }) => conditions))], models)
  const done: Completion[] = []
  for (let at = 0; at < asked.length; at += decoder.rows) {
    done.push(...(await decodeRows(decoder, asked.slice(at, at + decoder.rows), features, models)))
  }
  return done
}

/** The inputs of one prompt that come from the encoder: a row each. */
type Features = ReadonlyMap<Conditions, Readonly<Record<string, ModelTensor>>>

async function encode(decoder: Decoder, all: readonly Conditions[], models: Models): Promise<Features> {
  const { encoder } = decoder
  const found = new Map<Conditions, Record<string, ModelTensor>>()
  if (encoder === undefined) return found
  const { weights, rows, conditions, features } = encoder
  for (let at = 0; at < all.length; at += rows) {
    const some = all.slice(at, at + rows)
    const inputs = conditionInputs(decoder, { conditions, rows }, some)
    const outputs = await models.run(weights, inputs)
    for (const { name, dtype, shape } of features) {
      const output = expectOutput(outputs, name, dtype, shape, weights)
      for (const [row, of] of some.entries()) {
        const tensors = found.get(of) ?? {}
        tensors[name] = rowOf(output, row)
        found.set(of, tensors)
      }
    }
  }
  return found
}

async function decodeRows(
  decoder: Decoder,
  asked: readonly Asked[],
  features: Features,
  models: Models,
): Promise<Completion[]> {
  const { weights, rows, longest, vocabulary, end_token } = decoder
  const all = asked.map(({ conditions }) => conditions)
  const fixed: Record<string, ModelTensor> = {
    ...conditionInputs(decoder, decoder, all),
  }
  for (const { name } of decoder.encoder?.features ?? []) {
    fixed[name] = stacked(
      all.map((one) => features.get(one)?.[name] as ModelTensor),
      rows,
    )
  }
  const isAllowed = (token: number) => token === end_token || vocabulary[token] !== ''
  const open = asked.map((one) => new OpenCompletion(one, decoder))
  for (let length = 1; length < longest && open.some(({ is_open }) => is_open); length++) {
    const tokens = new BigInt64Array(rows * length).fill(BigInt(end_token))
    for (const [row, one] of open.entries()) {
      for (const [at, token] of one.tokens.entries()) {
        if (at + 1 < length) tokens[row * length + at + 1] = BigInt(token)
      }
    }
    const outputs = await models.run(weights, {
      ...fixed,
      tokens: { dtype: 'int64', shape: [rows, length], data: tokens },
    })
    const logits = expectOutput(outputs, 'logits', 'float32', [rows, vocabulary.length], weights).data as Float32Array
    for (const [row, one] of open.entries()) {
      if (!one.is_open) continue
      const own = logits.subarray(row * vocabulary.length, (row + 1) * vocabulary.length)
      one.add(draw(own, isAllowed, one.sampling, one.stream))
    }
  }
  return open.map((one) => one.completion)
}

class OpenCompletion {
  readonly tokens: number[] = []
  readonly sampling: Sampling
  readonly stream: Random
  readonly #logprobs: number[] = []
  readonly #asked: Asked
  readonly #decoder: Decoder
  #text = ''
  #ended: 'stop' | undefined

  constructor(asked: Asked, decoder: Decoder) {
    this.#asked = asked
    this.#decoder = decoder
    this.sampling = asked.sampling
    this.stream = asked.stream
  }

  get is_open(): boolean {
    return this.#ended === undefined && this.tokens.length < this.#asked.max_tokens
  }

  add({ token, logprob }: { readonly token: number; readonly logprob: number }): void {
    this.tokens.push(token)
    this.#logprobs.push(logprob)
    if (token === this.#decoder.end_token) {
      this.#ended = 'stop'
      return
    }
    this.#text += this.#decoder.vocabulary[token]
    const stops = this.#asked.stop.map((stop) => this.#text.indexOf(stop)).filter((at) => at >= 0)
    if (stops.length === 0) return
    this.#text = this.#text.slice(0, Math.min(...stops))
    this.#ended = 'stop'
  }

  get completion(): Completion {
    const { tokens } = this
    return { tokens, logprobs: this.#logprobs, text: this.#text, finish_reason: this.#ended ?? 'length' }
  }
}
