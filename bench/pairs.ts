/**
 * Measures a candidate against its ceiling in the same run. Both take turns, so that other load on the machine affects
 * both, and the result is the median of the ratios. A rate alone depends more on the machine than on the code.
 */

export interface Side {
  readonly what: string
  /** Prepares a turn; not measured. */
  prepare?(): Promise<void>
  /** Does about a tenth of a second of the work. @returns how much, in the measure's unit */
  run(): number | Promise<number>
  /** Cleans up after a turn; not measured either. */
  finish?(): Promise<void>
}

export interface Measure {
  readonly what: string
  /** What is counted, in the plural. */
  readonly unit: string
  /** `cpu`: seconds of processor time of this thread, for work that waits for nothing. `wall`: of the clock. */
  readonly seconds: 'cpu' | 'wall'
  readonly candidate: Side
  /** Without one, the goal is a rate. */
  readonly ceiling?: Side
  /** The least ratio, or the least rate per second; none if the number is only informative. */
  readonly goal?: number
  /** A lower limit on the number of pairs, for pairs that take minutes. */
  readonly most_pairs?: number
  /** True if a warm-up turn has no effect, because each turn is a process of its own. */
  readonly cold?: boolean
}

/** Readings that should stay at or below `goal`, e.g. of memory while the measures were taken. */
export interface Gauge {
  readonly what: string
  readonly unit: string
  /** None if the number is only informative. */
  readonly goal?: number
  values(): readonly number[] | Promise<readonly number[]>
}

/** What one file of this folder measures. */
export interface Bench {
  readonly measures: readonly Measure[]
  readonly gauges?: readonly Gauge[]
  close?(): Promise<void>
}

export interface BenchOptions {
  /** The least work that still shows that everything runs. */
  readonly quick: boolean
  /** Sizes, for benchmarks that measure several. */
  readonly completions?: readonly number[]
}
export type OpenBench = (options: BenchOptions) => Promise<Bench>

export interface Result {
  readonly what: string
  readonly against: string | null
  readonly unit: string
  /** Null for a gauge, which measures no rate. */
  readonly seconds: 'cpu' | 'wall' | null
  readonly pairs: number
  /** Median, least and greatest ratio, or rate if there is no ceiling. */
  readonly median: number
  readonly low: number
  readonly high: number
  /** Median rates per second. */
  readonly rate: number
  readonly ceiling_rate: number | null
  readonly goal: number | null
  readonly reached: boolean | null
}

export async function measure(subject: Measure, asked: number): Promise<Result> {
  const { candidate, ceiling, seconds, goal = null, most_pairs = Number.POSITIVE_INFINITY, cold = false } = subject
  const pairs = Math.min(asked, most_pairs)
  const rates: number[] = []
  const ceilings: number[] = []
  // A warm-up turn, which is not counted: it compiles code and fills caches.
  for (let turn = cold ? 0 : -1; turn < pairs; turn++) {
    const takeCandidate = async () => rates.push(await rateOf(candidate, seconds))
    const takeCeiling = async () => ceiling && ceilings.push(await rateOf(ceiling, seconds))
    const sides = turn % 2 === 0 ? [takeCandidate, takeCeiling] : [takeCeiling, takeCandidate]
    for (const take of sides) await take()
    if (turn === -1) rates.length = ceilings.length = 0
  }
  const values = ceiling === undefined ? rates : rates.map((rate, turn) => rate / (ceilings[turn] as number))
  const median = medianOf(values)
  return {
    what: subject.what,
    against: ceiling?.what ?? null,
    unit: subject.unit,
    seconds,
    pairs,
    median,
    low: Math.min(...values),
    high: Math.max(...values),
    rate: medianOf(rates),
    ceiling_rate: ceiling === undefined ? null : medianOf(ceilings),
    goal,
    reached: goal === null ? null : median >= goal,
  }
}

export async function readGauge({ what, unit, values, ...gauge }: Gauge): Promise<Result> {
  const goal = gauge.goal ?? null
  const seen = await values()
  const [low, high] = [Math.min(...seen), Math.max(...seen)]
  const median = medianOf(seen)
  const nothing = { against: null, seconds: null, rate: median, ceiling_rate: null }
  return {
    what,
    unit,
    pairs: seen.length,
    median,
    low,
    high,
    goal,
    reached: goal === null ? null : high <= goal,
    ...nothing,
  }
}

async function rateOf(side: Side, seconds: 'cpu' | 'wall'): Promise<number> {
  await side.prepare?.()
  const cpu = process.threadCpuUsage()
  const wall_ms = performance.now()
  const done = await side.run()
  const { user, system } = process.threadCpuUsage(cpu)
  const rate = done / (seconds === 'cpu' ? (user + system) / 1e6 : (performance.now() - wall_ms) / 1e3)
  await side.finish?.()
  return rate
}

export function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}
