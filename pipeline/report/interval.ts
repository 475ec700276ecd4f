import { random } from '../../environments/tower/random.ts'

/** The scored completions of one prompt: their sum and their number. */
export interface Cluster {
  readonly total: number
  readonly count: number
}

export interface Interval {
  readonly mean: number
  /** Null for a single group, which does not show how groups vary. */
  readonly low: number | null
  readonly high: number | null
}

export const INTERVALS = ['t', 'bootstrap'] as const
export type IntervalMethod = (typeof INTERVALS)[number]
export const CONFIDENCE = 0.95
export const RESAMPLES = 2_000

/** Describes how an interval was computed. */
export function describeInterval(method: IntervalMethod, seed: string): string {
  return method === 't'
    ? '95 % t interval, clustered by group'
    : `95 % bootstrap percentile interval, ${RESAMPLES} resamples of whole groups, seed ${seed}`
}

/**
 * The mean of all completions with its 95 % interval. Completions of one prompt see the same scene and are not
 * independent, so the group is the unit: with Sᵢ and nᵢ the sum and number of group i, N = Σ nᵢ, m = Σ Sᵢ / N,
 *
 *   t:         m ± t(0.975, G − 1) · sqrt( G / (G − 1) · Σ (Sᵢ − nᵢ m)² ) / N   (cluster-robust, ratio estimator)
 *   bootstrap: the 2.5 % and 97.5 % quantiles of m over resamples of G groups with replacement
 *
 * With groups of one it is the ordinary t interval.
 *
 * @param clusters groups; those without completions are ignored
 * @returns undefined when there is no completion at all
 */
export function clusteredMean(
  clusters: readonly Cluster[],
  method: IntervalMethod,
  seed: readonly string[],
): Interval | undefined {
  const filled = clusters.filter(({ count }) => count > 0)
  const count = sum(filled.map((cluster) => cluster.count))
  if (count === 0) return undefined
  const mean = sum(filled.map((cluster) => cluster.total)) / count
  const groups = filled.length
  if (groups < 2) return { mean, low: null, high: null }
  if (method === 'bootstrap') return { mean, ...bootstrap(filled, seed) }
  const squares = sum(filled.map((cluster) => (cluster.total - cluster.count * mean) ** 2))
  const half =
    (studentQuantile(0.5 + CONFIDENCE / 2, groups - 1) * Math.sqrt((groups / (groups - 1)) * squares)) / count
  return { mean, low: mean - half, high: mean + half }
}

function bootstrap(clusters: readonly Cluster[], seed: readonly string[]): { low: number; high: number } {
  const draws = random('bootstrap', ...seed)
  const means = Float64Array.from({ length: RESAMPLES }, () => {
    let total = 0
    let count = 0
    for (let draw = 0; draw < clusters.length; draw++) {
      const cluster = clusters[draws.integer(0, clusters.length - 1)] as Cluster
      total += cluster.total
      count += cluster.count
    }
    return total / count
  }).sort()
  return { low: quantile(means, 0.5 - CONFIDENCE / 2), high: quantile(means, 0.5 + CONFIDENCE / 2) }
}

/** Linear between order statistics (type 7 of Hyndman and Fan, 1996). */
function quantile(sorted: Float64Array, share: number): number {
  const place = share * (sorted.length - 1)
  const below = sorted[Math.floor(place)] as number
  const above = sorted[Math.ceil(place)] as number
  return below + (above - below) * (place - Math.floor(place))
}

/**
 * The quantile of Student's t distribution, by bisection on P(T ≤ t) = 1 − I(ν / (ν + t²); ν/2, 1/2) / 2 for t ≥ 0.
 *
 * @param share in [0.5, 1)
 * @param freedom ν ≥ 1
 */
export function studentQuantile(share: number, freedom: number): number {
  const below = (t: number) => 1 - incompleteBeta(freedom / (freedom + t * t), freedom / 2, 0.5) / 2
  let low = 0
  let high = 1
  while (below(high) < share) high *= 2
  for (let step = 0; step < 80; step++) {
    const middle = (low + high) / 2
    if (below(middle) < share) low = middle
    else high = middle
  }
  return (low + high) / 2
}

/** Regularised incomplete beta function I(x; a, b): Lentz's continued fraction (Numerical Recipes, 3rd edition, 6.4). */
function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0
  if (x >= 1) return 1
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a)
  const TINY = 1e-300
  const keep = (value: number) => (Math.abs(value) < TINY ? TINY : value)
  let c = 1
  let d = 1 / keep(1 - ((a + b) * x) / (a + 1))
  let fraction = d
  for (let m = 1; m <= 300; m++) {
    for (const numerator of [
      (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)),
      (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1)),
    ]) {
      d = 1 / keep(1 + numerator * d)
      c = keep(1 + numerator / c)
      fraction *= d * c
    }
    if (Math.abs(d * c - 1) < 1e-15) break
  }
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x))
  return (front * fraction) / a
}

/** ln Γ(x), x > 0: Lanczos, g = 7, n = 9 (Godfrey's coefficients). */
function logGamma(x: number): number {
  const coefficients = [
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
  ]
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x)
  const t = x + 6.5
  const series = coefficients.reduce((total, coefficient, at) =>
    at === 0 ? coefficient : total + coefficient / (x - 1 + at),
  )
  return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(series)
}

function sum(values: readonly number[]): number {
  let total = 0
  for (const value of values) total += value
  return total
}
