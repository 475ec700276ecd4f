import type { Checkpoint } from './partition-digest.ts'
import type { Stage } from './places.ts'

/** A message from a process of the test to its parent. */
export type Message =
  | { readonly says: 'restored'; readonly processor: string; readonly partition: number }
  | { readonly says: 'lost'; readonly processor: string; readonly partitions: readonly number[] }
  | { readonly says: 'retrying'; readonly processor: string; readonly message: string }
  | { readonly says: 'committed'; readonly processor: string; readonly records: number }
  | { readonly says: 'reached'; readonly processor: string; readonly stage: Stage }
  | { readonly says: 'report'; readonly message: string }
  | { readonly says: 'scanned'; readonly records: number; readonly checkpoints: readonly Checkpoint[] }
  | { readonly says: 'breach'; readonly message: string }
  | { readonly says: 'acknowledged'; readonly job: number }

/** Sent to a process: raise this signal at this point of a later commit. */
export interface Trap {
  readonly stage: Stage
  readonly commit: number
  readonly delay_ms: number
  readonly signal: 'SIGKILL' | 'SIGSTOP'
}

/** Sends a message to the parent process. There is none when this one is started by hand. */
export function say(message: Message): void {
  if (process.connected) process.send?.(message)
}

/** Ends this process when its parent has gone. The channel to the parent does not keep it alive. */
export function belongToStarter(): void {
  process.on('disconnect', () => process.exit(1))
  process.channel?.unref()
}

/** Raises a trap's signal at its point of a commit. */
export class TrapDoor {
  #trap: (Trap & { left: number }) | undefined

  constructor() {
    process.on('message', (trap: Trap) => {
      this.#trap = { ...trap, left: trap.commit }
    })
    process.channel?.unref()
  }

  /** Called at every point of every commit. */
  at(processor: string, stage: Exclude<Stage, 'committing'>): void {
    const trap = this.#trap
    if (trap === undefined || stage !== (trap.stage === 'committing' ? 'appended' : trap.stage)) return
    trap.left--
    if (trap.left > 0) return
    this.#trap = undefined
    say({ says: 'reached', processor, stage: trap.stage })
    const strike = () => process.kill(process.pid, trap.signal)
    if (trap.stage !== 'committing') strike()
    else if (trap.delay_ms === 0) setImmediate(strike)
    else setTimeout(strike, trap.delay_ms)
  }
}
