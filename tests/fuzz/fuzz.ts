import { type Random, random } from '../../environments/tower/random.ts'

/** One kind of hostile input: SQL, records, files, command lines. */
export interface FuzzPart {
  readonly name: string
  /** Starts the target of the attack as a user would. */
  open(seed: string): Promise<FuzzTarget>
}

export interface FuzzTarget {
  /**
   * Makes one input from `random` alone, and tries it.
   *
   * @param trying Called with the input before it is tried.
   * @returns The outcome in a word or two: outcomes are counted.
   * @throws Error when a guarantee was broken.
   */
  attempt(random: Random, trying: (input: string) => void): Promise<string>
  /** Checks what must be true after all attempts so far. @throws Error */
  check(): Promise<void>
  close(): Promise<void>
}

export interface FuzzOptions {
  readonly part: FuzzPart
  readonly seed: string
  readonly calls: number
  /** The number of the first call; each call depends on its number and the seed alone. */
  readonly from?: number
  readonly onChecked?: (calls: number) => void
}

export interface FuzzResult {
  readonly calls: number
  readonly outcomes: Readonly<Record<string, number>>
  readonly failure: FuzzFailure | undefined
}
export interface FuzzFailure {
  readonly call: number
  readonly input: string
  readonly error: unknown
  /** Commands that repeat it: alone, and after the calls since the last check. */
  readonly repeat: readonly string[]
}

const CHECK_EVERY = 100

/** Stops at the first failure. */
export async function fuzz({ part, seed, calls, from = 0, onChecked }: FuzzOptions): Promise<FuzzResult> {
  const outcomes: Record<string, number> = {}
  const target = await part.open(seed)
  let input = ''
  let checked = from
  let call = from
  try {
    await target.check()
    for (; call < from + calls; call += 1) {
      const outcome = await target.attempt(random('fuzz', part.name, seed, call), (tried) => {
        input = tried
      })
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
      if ((call + 1) % CHECK_EVERY === 0 || call + 1 === from + calls) {
        await target.check()
        checked = call + 1
        onChecked?.(checked)
      }
    }
    return { calls, outcomes, failure: undefined }
  } catch (error) {
    const command = (first: number) =>
      `npm run test:fuzz -- ${part.name} --seed ${seed} --from ${first} --calls ${call - first + 1}`
    const repeat = checked === call ? [command(call)] : [command(call), command(checked)]
    return { calls: call - from + 1, outcomes, failure: { call, input, error, repeat } }
  } finally {
    await target.close()
  }
}

export function fuzzReport({ name }: FuzzPart, { calls, outcomes, failure }: FuzzResult): string {
  const counts = Object.entries(outcomes)
    .sort(([, left], [, right]) => right - left)
    .map(([outcome, count]) => `${count} ${outcome}`)
  const lines = [`${name}: ${calls} calls: ${counts.join(', ') || 'none came to an end'}`]
  if (failure !== undefined) {
    const { call, input, error, repeat } = failure
    const words = error instanceof Error ? (error.stack ?? error.message) : String(error)
    lines.push(`call ${call} broke a promise: ${words}`, `the input: ${JSON.stringify(input)}`, ...repeat)
  }
  return `${lines.join('\n')}\n`
}
