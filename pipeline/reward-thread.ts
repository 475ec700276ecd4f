/**
 * The thread in which a reward file runs. If the file exits, loops, leaves timers or exhausts memory, the thread ends
 * and not the program. Started by `reward-file.ts`, which sends completions and gets rewards.
 */
import { parentPort, workerData } from 'node:worker_threads'
import {
  type CustomRewardFunction,
  checkedReward,
  type RecordedCompletion,
  RewardFunctionError,
} from '../processors/rescore-completions/custom-reward.ts'
import { type PackedCompletions, type PackedRewards, packRewards, unpackCompletions } from './reward-messages.ts'

/** What the file exports; `evaluate` stays in the thread. */
export interface Exports {
  readonly names: readonly string[]
  readonly functions: readonly string[]
  readonly version: unknown
}

export type FromThread =
  | { readonly kind: 'loaded'; readonly exports: Exports }
  | { readonly kind: 'not_loaded'; readonly message: string }
  | { readonly kind: 'evaluated'; readonly answers: readonly Answer[] }

/** The result of one event's completions: their rewards, or the message of a RewardFunctionError. */
export type Answer = PackedRewards | string

export interface ThreadData {
  readonly address: string
  readonly file: string
  /** One BigInt64: when the thread began its current event, in nanoseconds of `process.hrtime.bigint()`. */
  readonly began_ns: SharedArrayBuffer
}

const { address, file, began_ns } = workerData as ThreadData
const began = new BigInt64Array(began_ns)
const port = parentPort
if (port === null) throw new Error('reward-thread.ts runs as a worker thread only')
const send = (message: FromThread) => port.postMessage(message)

const module = await import(address).catch((error: unknown) => {
  send({ kind: 'not_loaded', message: (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? '' })
  return undefined
})
if (module !== undefined) {
  const exported = Object.entries(module as Record<string, unknown>)
  const functions = exported.filter(([, value]) => typeof value === 'function')
  const { version } = module as { version?: unknown }
  const [chosen] = functions
  const evaluate = checkedReward(`${file} ${chosen?.[0]}()`, chosen?.[1] as CustomRewardFunction)
  const answerOf = (completions: readonly RecordedCompletion[]): Answer => {
    Atomics.store(began, 0, process.hrtime.bigint())
    try {
      return packRewards(completions.map(evaluate))
    } catch (error) {
      if (!(error instanceof RewardFunctionError)) throw error
      return error.message
    }
  }
  port.on('message', (completions: PackedCompletions) => {
    send({ kind: 'evaluated', answers: unpackCompletions(completions).map(answerOf) })
  })
  const names = exported.map(([name]) => name)
  const plain = ['number', 'string', 'boolean', 'undefined'].includes(typeof version) ? version : typeof version
  send({ kind: 'loaded', exports: { names, functions: functions.map(([name]) => name), version: plain } })
}
