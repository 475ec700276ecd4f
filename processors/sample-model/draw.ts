import type { Random } from '../../environments/tower/random.ts'

/** How a token is drawn. */
export interface Sampling {
  /** 0: the likeliest token, the first of equals. */
  readonly temperature: number
  /** Of the likeliest tokens; 0: all. */
  readonly top_k: number
  /** The smallest set of the likeliest tokens whose probabilities sum to it; 1: all. */
  readonly top_p: number
}

export interface Drawn {
  readonly token: number
  /** Natural logarithm, as a float32, of its probability among all tokens, before temperature, top-k and top-p. */
  readonly logprob: number
}

/**
 * Draws a token: of the allowed ones, the likeliest `top_k`, of these the likeliest that reach `top_p` after the
 * temperature.
 *
 * @param logits of every token
 * @param isAllowed whether a token may be drawn
 * @throws Error for a logit that is no number
 */
export function draw(
  logits: Float32Array,
  isAllowed: (token: number) => boolean,
  { temperature, top_k, top_p }: Sampling,
  stream: Random,
): Drawn {
  const log_sum = logSumExp(logits)
  const logprobOf = (token: number) => Math.fround((logits[token] as number) - log_sum)
  const likeliest = Array.from(logits.keys())
    .filter(isAllowed)
    .sort((a, b) => (logits[b] as number) - (logits[a] as number) || a - b)
  const [first] = likeliest
  if (first === undefined) throw new Error('no token may be drawn')
  if (temperature === 0) return { token: first, logprob: logprobOf(first) }
  const kept = top_k > 0 ? likeliest.slice(0, top_k) : likeliest
  const weights = kept.map((token) => Math.exp(((logits[token] as number) - (logits[first] as number)) / temperature))
  const most = smallestPrefix(weights, top_p)
  let left = stream.uniform() * sum(weights.slice(0, most))
  for (const [at, token] of kept.slice(0, most).entries()) {
    left -= weights[at] as number
    if (left < 0) return { token, logprob: logprobOf(token) }
  }
  // Rounding left a rest: the last one.
  const token = kept[most - 1] as number
  return { token, logprob: logprobOf(token) }
}

/** How many of the first weights reach this share of the sum; at least one. */
function smallestPrefix(weights: readonly number[], share: number): number {
  if (share >= 1) return weights.length
  const enough = share * sum(weights)
  let reached = 0
  for (const [at, weight] of weights.entries()) {
    reached += weight
    if (reached >= enough) return at + 1
  }
  return weights.length
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0)

function logSumExp(logits: Float32Array): number {
  let most = Number.NEGATIVE_INFINITY
  for (const [token, logit] of logits.entries()) {
    if (Number.isNaN(logit) || logit === Number.POSITIVE_INFINITY) {
      throw new Error(`logit of token ${token}: expected a number, found ${logit}`)
    }
    if (logit > most) most = logit
  }
  if (most === Number.NEGATIVE_INFINITY) throw new Error('logits: expected a number among them, found -Infinity alone')
  let total = 0
  for (const logit of logits) total += Math.exp(logit - most)
  return most + Math.log(total)
}
