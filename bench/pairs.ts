/**
 * A number beside its ceiling, in the same run: both sides take turns, so that whatever else the machine does meets both,
 * and what counts is the median of the ratios. A rate alone says more about the machine than about the code.
 */

export interface Side {
  readonly what: string
  /** What each turn needs and what does not count. */
  prepare?(): Promise<void>
  /** Does some of the work and says how much, in the measure's unit; about a tenth of a second. */
  run(): number | Promise<number>
  /** Puts away what a turn leaves behind; does not count either. */
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
  /** The least ratio, or the least rate per second; none where a number is only to be known. */
  readonly goal?: number
  /** Fewer than were asked for, where a pair takes minutes. */
  readonly most_pairs?: number
  /** Whether a turn before the first would find nothing to prepare for the others: each is a process of its own. */
  readonly cold?: boolean
}

/** Readings that are to stay at or below `goal`, e.g. of memory while the measures were taken. */
export interface Gauge {
  readonly what: string
  readonly unit: string
  /** None where a number is only to be known. */
  readonly goal?: number
  values(): readonly number[] | Promise<readonly number[]>
}

/** What one file of this folder measures. */
export interface Bench {
  readonly measures: readonly Measure[]
  readonly gauges?: readonly Gauge[]
  close?(): Promise<void>
}

/** `quick`: as little work as still shows that everything runs. */
export type OpenBench = (options: { readonly quick: boolean }) => Promise<Bench>

export interface Result {
  readonly what: string
  readonly against: string | null
  readonly unit: string
  /** Null where nothing is counted by time: a gauge. */
  readonly seconds: 'cpu' | 'wall' | null
  readonly pairs: number
  /** Median, least and greatest ratio, or rate where there is no ceiling. */
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
  // One turn that does not count: code is compiled and caches are filled in it.
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
