/**
 * The thread in which a reward file runs. If the file exits, loops, leaves timers or exhausts memory, the thread ends
 * and not the program. Started by `reward-file.ts`, which sends completions and gets rewards.
 */
import { parentPort, workerData } from 'node:worker_threads'
import {
  type CustomRewardFunction,
  checkedReward,
  type RecordedCompletion,
  type Reward,
  RewardFunctionError,
} from '../processors/rescore-completions/custom-reward.ts'

/** What the file exports; `evaluate` stays in the thread. */
export interface Exports {
  readonly names: readonly string[]
  readonly functions: readonly string[]
  readonly version: unknown
}

export type FromThread =
  | { readonly kind: 'loaded'; readonly exports: Exports }
  | { readonly kind: 'not_loaded'; readonly message: string }
  | { readonly kind: 'rewards'; readonly rewards: readonly Reward[] }
  | { readonly kind: 'wrong'; readonly message: string }

export interface ThreadData {
  readonly address: string
  readonly file: string
}

const { address, file } = workerData as ThreadData
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
  port.on('message', (completions: readonly RecordedCompletion[]) => {
    try {
      send({ kind: 'rewards', rewards: completions.map(evaluate) })
    } catch (error) {
      if (!(error instanceof RewardFunctionError)) throw error
      send({ kind: 'wrong', message: error.message })
    }
  })
  const names = exported.map(([name]) => name)
  const plain = ['number', 'string', 'boolean', 'undefined'].includes(typeof version) ? version : typeof version
  send({ kind: 'loaded', exports: { names, functions: functions.map(([name]) => name), version: plain } })
}
