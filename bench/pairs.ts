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
  /** The least ratio, or the least rate per second. */
  readonly goal: number
}

/** A number that is to stay below a bound, and has neither a rate nor a ceiling; taken once. */
export interface Reading {
  readonly what: string
  readonly unit: string
  readonly at_most: number
  take(): Promise<number>
}

/** What one file of this folder measures. */
export interface Bench {
  readonly measures: readonly Measure[]
  readonly readings?: readonly Reading[]
  close?(): Promise<void>
}

/** `quick`: as little work as still shows that everything runs. */
export type OpenBench = (options: { readonly quick: boolean }) => Promise<Bench>

export interface Result {
  readonly what: string
  readonly against: string | null
  readonly unit: string
  /** Null: it is no rate. */
  readonly seconds: 'cpu' | 'wall' | null
  readonly pairs: number
  /** Median, least and greatest ratio, or rate where there is no ceiling. */
  readonly median: number
  readonly low: number
  readonly high: number
  /** Median rates per second. */
  readonly rate: number
  readonly ceiling_rate: number | null
  readonly goal: number
  readonly bound: 'least' | 'most'
  readonly reached: boolean
}

export async function read({ what, unit, at_most, take }: Reading): Promise<Result> {
  const value = await take()
  return {
    what,
    against: null,
    unit,
    seconds: null,
    pairs: 1,
    median: value,
    low: value,
    high: value,
    rate: value,
    ceiling_rate: null,
    goal: at_most,
    bound: 'most',
    reached: value <= at_most,
  }
}

export async function measure(subject: Measure, pairs: number): Promise<Result> {
  const { candidate, ceiling, seconds, goal } = subject
  const rates: number[] = []
  const ceilings: number[] = []
  // One turn that does not count: code is compiled and caches are filled in it.
  for (let turn = -1; turn < pairs; turn++) {
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
    bound: 'least',
    reached: median >= goal,
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
