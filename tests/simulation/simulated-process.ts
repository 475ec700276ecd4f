import type { MemoryBroker } from '../../infra/log/memory/broker.ts'
import type { MemoryLog } from '../../infra/log/memory/memory-log.ts'
import type { EpochClaim } from '../../infra/log/port/consumer.ts'
import type { Processor } from '../../processors/processor.ts'
import type { Actor } from './actor.ts'

/** A process that can be killed, or stopped for a while. */
export class SimulatedProcess implements Actor {
  readonly name: string
  readonly is_worker: boolean
  readonly pace: number
  readonly handle: MemoryLog
  readonly #broker: MemoryBroker
  state: 'running' | 'stalled' | 'dead' = 'running'

  constructor(options: {
    readonly name: string
    readonly is_worker: boolean
    readonly pace: number
    readonly handle: MemoryLog
    readonly broker: MemoryBroker
  }) {
    this.name = options.name
    this.is_worker = options.is_worker
    this.pace = options.pace
    this.handle = options.handle
    this.#broker = options.broker
  }

  kill(): void {
    if (this.state === 'running') this.handle.crash()
    this.state = 'dead'
  }

  /** SIGSTOP, a long garbage collection, a sleeping laptop: the heartbeat stops too, the memory is retained. */
  stall(): void {
    this.handle.renewLeases()
    this.#broker.handles.delete(this.handle)
    this.state = 'stalled'
  }

  goOn(): void {
    if (this.state !== 'stalled') return
    this.#broker.handles.add(this.handle)
    this.state = 'running'
  }
}

/** A process that runs one worker. */
export interface WorkerProcess {
  readonly process: SimulatedProcess
  readonly processor: Processor
  readonly instance: string
  readonly idle: () => boolean
  readonly stop: () => void
  /** Ownership according to its last poll; `taken_up` has the partitions that it has restored since. */
  claim: EpochClaim | undefined
  readonly taken_up: Set<number>
  ended: boolean
}
