import { Worker } from 'node:worker_threads'
import type { KafkaAddress } from './address.ts'

/** The member that heartbeats are sent for, and how often. */
export interface Beating {
  readonly id: string
  readonly address: KafkaAddress
  /** With the prefix. */
  readonly group: string
  readonly member: string
  readonly generation: number
  readonly every_ms: number
}

/** The broker's answer; `refused` is the protocol's name of an error, or undefined if there was none. */
export interface Beat extends Pick<Beating, 'id' | 'member' | 'generation'> {
  readonly refused: string | undefined
  readonly denied: boolean
}

export type ToThread = { readonly add: Beating } | { readonly remove: string }

let thread: Worker | undefined
const heard = new Map<string, { readonly of: Beating; readonly tell: (beat: Beat) => void }>()

/**
 * Sends heartbeats for a member from a separate thread, so that it keeps its partitions while this thread computes.
 * Replaces earlier heartbeats with the same id.
 */
export function beat(beating: Beating, onBeat: (beat: Beat) => void): void {
  heard.set(beating.id, { of: beating, tell: onBeat })
  thread ??= started()
  thread.postMessage({ add: beating } satisfies ToThread)
}

export function silence(id: string): void {
  if (!heard.delete(id)) return
  thread?.postMessage({ remove: id } satisfies ToThread)
  if (heard.size > 0) return
  void thread?.terminate()
  thread = undefined
}

function started(): Worker {
  const made = new Worker(new URL('./heartbeat-thread.ts', import.meta.url))
  made.unref()
  made.on('message', (beat: Beat) => heard.get(beat.id)?.tell(beat))
  made.on('error', (error) => {
    // Report this to each of its members at once; they join again, which starts another thread.
    if (thread === made) thread = undefined
    const refused = `the thread of the heartbeats ended: ${error.message}`
    for (const { of, tell } of [...heard.values()]) tell({ ...of, refused, denied: false })
  })
  return made
}
