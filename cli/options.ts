import type { Command } from 'commander'
import { UsageError } from '../pipeline/usage-error.ts'
import { type Partitions, partitionsFrom } from '../schemas/wire/partitions.ts'

export interface GlobalOptions {
  readonly data: string
  readonly log?: string
  /** True when the option was given without a URL. */
  readonly blobs?: string | true
  readonly partitions?: Partitions
  readonly shared: boolean
  readonly json: boolean
  readonly debug: boolean
}

export const globals = (command: Command) => command.optsWithGlobals<GlobalOptions>()

/** Parser of an option that takes a whole number from `from` to `to`. */
export function wholeNumber(name: string, from: number, to: number): (text: string) => number {
  return (text) => {
    const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN
    if (!Number.isSafeInteger(value) || value < from || value > to) {
      throw new UsageError(`--${name} ${text}: expected a whole number from ${from} to ${to}`, `e.g. --${name} ${from}`)
    }
    return value
  }
}

/** Parser of an option that takes a number from `from` to `to`. */
export function fraction(name: string, from: number, to: number): (text: string) => number {
  return (text) => {
    const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN
    if (!Number.isFinite(value) || value < from || value > to) {
      throw new UsageError(`--${name} ${text}: expected a number from ${from} to ${to}`, `e.g. --${name} 1`)
    }
    return value
  }
}

/** Parser of `--partitions`: a count, then the counts of events that have a different one: `4,EVENT=8`. */
export function partitionCounts(text: string): Partitions {
  const [others = '', ...uneven] = text.split(',')
  const count = wholeNumber('partitions', 1, 10_000)
  const by_event = uneven.map((entry) => {
    const [, type = '', given = ''] = /^([\w.]+)=(.*)$/.exec(entry) ?? []
    if (type === '') {
      throw new UsageError(
        `--partitions ${text}: expected a count, then EVENT=COUNT with commas between, got ${entry || 'nothing'}`,
        'e.g. --partitions 4,rollout.group_formed=8',
      )
    }
    return [type, count(given)] as const
  })
  return partitionsFrom(count(others), by_event)
}

/** Parser of an option that takes one of several words. */
export function oneOfWords<const V extends readonly string[]>(name: string, words: V): (text: string) => V[number] {
  return (text) => {
    if (!words.includes(text))
      throw new UsageError(`--${name} ${text}: not known`, `expected one of ${words.join(', ')}`)
    return text
  }
}

/** A Ctrl-C arrives twice: from the terminal, and forwarded by `./plumbline`. Both count as one. Inferred. */
const ONE_STOP_MS = 300

/** Aborts on the first Ctrl-C or SIGTERM, so that work drains; a second one ends the process at once. */
export function stopSignal({ silent = false } = {}): AbortSignal {
  const stop = new AbortController()
  let first_ms = 0
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (stop.signal.aborted) {
        if (performance.now() - first_ms > ONE_STOP_MS) process.exit(130)
        return
      }
      first_ms = performance.now()
      if (!silent) process.stderr.write('\nplumbline: stopping: committing finished work (again to stop at once)\n')
      stop.abort()
    })
  }
  return stop.signal
}
