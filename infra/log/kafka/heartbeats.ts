import { Worker } from 'node:worker_threads'
import type { KafkaAddress } from './address.ts'

/** Whose sign of life is given, and how often. */
export interface Beating {
  readonly id: string
  readonly address: KafkaAddress
  /** As the broker knows it. */
  readonly group: string
  readonly member: string
  readonly generation: number
  readonly every_ms: number
}

/** What the broker answered; `refused` is the protocol's name of it, or undefined when all is well. */
export interface Beat extends Pick<Beating, 'id' | 'member' | 'generation'> {
  readonly refused: string | undefined
  readonly denied: boolean
}

export type ToThread = { readonly add: Beating } | { readonly remove: string }

let thread: Worker | undefined
const heard = new Map<string, { readonly of: Beating; readonly tell: (beat: Beat) => void }>()

/**
 * Gives signs of life for a member from a thread of its own, so that it keeps its partitions while this one computes;
 * takes the place of what was given for this id before.
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
    // Every member it spoke for is told at once; each joins again, and that starts another thread.
    if (thread === made) thread = undefined
    const refused = `the thread of the heartbeats ended: ${error.message}`
    for (const { of, tell } of [...heard.values()]) tell({ ...of, refused, denied: false })
  })
  return made
}
