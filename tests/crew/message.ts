import type { Checkpoint } from './partition-digest.ts'
import type { Stage } from './places.ts'

/** What a process of the test tells the one that started it. */
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

/** Told to a process: get this signal at this point of your commits. */
export interface Trap {
  readonly stage: Stage
  readonly commit: number
  readonly delay_ms: number
  readonly signal: 'SIGKILL' | 'SIGSTOP'
}

/** Tells the process that started this one; nobody is there when it is tried by hand. */
export function say(message: Message): void {
  if (process.connected) process.send?.(message)
}

/** Ends this process when the one that started it has gone, and nothing keeps it alive but its work. */
export function belongToStarter(): void {
  process.on('disconnect', () => process.exit(1))
  process.channel?.unref()
}

/** A signal that is to come at a point of a commit. */
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
