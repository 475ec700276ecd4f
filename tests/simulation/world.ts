import { type Random, random } from '../../environments/tower/random.ts'
import { type Blobs, BlobsAwayError } from '../../infra/blobs/blobs.ts'
import { memoryBlobs } from '../../infra/blobs/memory.ts'
import { MemoryBroker } from '../../infra/log/memory/broker.ts'
import { type MemoryLog, memoryLog } from '../../infra/log/memory/memory-log.ts'
import type { EpochClaim } from '../../infra/log/port/consumer.ts'
import { type Member, type Polled, TopicReplacedError } from '../../infra/log/port/log.ts'
import { effectWorker } from '../../infra/runtime/work/effect-worker.ts'
import { Worker, type WorkerEvent } from '../../infra/runtime/work/worker.ts'
import { inputTopics, type Processor } from '../../processors/processor.ts'
import type { FaultKind } from './fault-kinds.ts'
import type { Faults } from './faults.ts'
import type { Inputs } from './inputs.ts'
import type { Scheduler } from './scheduler.ts'
import { type Conduct, SimulatedLog } from './simulated-log.ts'
import { type Asked, SimulatedPolicy } from './simulated-policy.ts'
import { SimulatedProcess, type WorkerProcess } from './simulated-process.ts'
import { ASKING, stagesOf, topicsFor, vocabulary } from './stages.ts'
import type { Turn } from './turn.ts'

/** Owner of the world's own timers: the ends of stalls and the restarts of processes. */
const WORLD = { name: 'the world', is_worker: false, pace: 1, state: 'running' as const }
const MOST_WORKERS_OF_A_STAGE = 3

/** One log and every process on it: workers of each stage, and sources. */
export class World {
  readonly inputs: Inputs
  readonly broker = new MemoryBroker('simulated')
  readonly blobs = memoryBlobs()
  readonly #columns = new Map<string, Uint8Array>()
  /** The bytes of a column that is stored in a blob, for checks that read the log from outside. */
  readonly column = (sha256: string) => this.#columns.get(sha256)
  readonly policy: SimulatedPolicy
  readonly workers = new Set<WorkerProcess>()
  /** Broken guarantees, as workers, the policy and the checks see them. */
  readonly violations: string[] = []
  /** Errors of workers that stopped because a topic was deleted and created again. */
  readonly refusals: string[] = []
  readonly #scheduler: Scheduler
  readonly #faults: Faults
  readonly #random: Random
  readonly #conduct: Conduct
  readonly #onAsked: (asked: Asked, by: WorkerProcess) => void
  /** Whether the processes of this world send heartbeats only by polling. */
  readonly #silent: boolean
  #alarms = 0
  #blobs_away = false
  #instances = 0

  constructor(options: {
    readonly seed: string
    readonly inputs: Inputs
    readonly scheduler: Scheduler
    readonly faults: Faults
    readonly conduct: (broker: MemoryBroker) => Conduct
    readonly onAsked: (asked: Asked, by: WorkerProcess) => void
  }) {
    this.inputs = options.inputs
    this.#scheduler = options.scheduler
    this.#faults = options.faults
    this.#conduct = options.conduct(this.broker)
    this.#onAsked = options.onAsked
    this.#random = random('simulation', 'world', options.seed)
    this.#silent = this.#random.uniform() < 0.3
    this.policy = new SimulatedPolicy(options.seed, options.inputs.groups)
    this.broker.createTopics(topicsFor(options.inputs.partitions))
  }

  get stages(): readonly Processor[] {
    return stagesOf(this.inputs)
  }

  /** Starts one or two workers of each stage. */
  begin(): void {
    for (const processor of this.stages) {
      for (let count = this.#random.integer(1, 2); count > 0; count--) this.start(processor)
    }
  }

  start(processor: Processor, instance = `${this.#instances++}`): void {
    const { handle, process } = this.#process(`${processor.name}/${instance}`, true)
    const stop = new AbortController()
    const made: { worker?: Worker } = {}
    const one: WorkerProcess = {
      process,
      processor,
      instance,
      idle: () => made.worker?.idle ?? false,
      stop: () => stop.abort(),
      claim: undefined,
      taken_up: new Set(),
      ended: false,
    }
    const log = this.#log(handle, process, (_member, polled) => {
      one.claim = polled.claim as EpochClaim
      for (const partition of [...polled.lost, ...polled.gained]) one.taken_up.delete(partition)
    })
    const options = {
      log,
      blobs: this.#conduct.blobs(this.#blobs(process)),
      vocabulary,
      partitions: this.inputs.partitions,
      instance,
      tuning: this.#tuning(),
      onEvent: (event: WorkerEvent) => this.#tell(one, event),
    }
    this.workers.add(one)
    this.#scheduler.run(process, () => {
      made.worker =
        processor === ASKING
          ? effectWorker({
              ...options,
              processor: ASKING,
              outside: {
                http: this.policy.client((asked) => this.#onAsked(asked, one)),
                limits: {
                  concurrency: this.#random.integer(1, 4),
                  timeout_ms: 500,
                  max_waiting: this.#random.integer(1, 4),
                  waits: { first_ms: 20, longest_ms: 200, permanent_ms: 200 },
                },
              },
            })
          : new Worker({ ...options, processor })
      made.worker.run(stop.signal).then(
        () => this.#ended(one),
        (error: unknown) => this.#ended(one, error),
      )
    })
  }

  /** Starts a source, which runs until it is done. Like a worker, it may be killed and is started again. */
  startSource(name: string, code: (log: SimulatedLog, blobs: Blobs) => Promise<void>, onDone: () => void): void {
    const { handle, process } = this.#process(name, false)
    const log = this.#log(handle, process, () => {})
    this.#onKill.set(process, () => this.startSource(name, code, onDone))
    this.#scheduler.run(process, () => {
      code(log, this.#blobs(process)).then(
        () => {
          this.#onKill.delete(process)
          onDone()
        },
        (error: unknown) => this.violations.push(`${name} failed: ${error}`),
      )
    })
  }
  readonly #onKill = new Map<SimulatedProcess, () => void>()

  /** Applies a fault that concerns a whole process; other faults concern the waiting call. */
  strike(kind: FaultKind, { owner }: Turn): 'struck' | 'goes on' {
    const process = owner as SimulatedProcess
    const one = [...this.workers].find((candidate) => candidate.process === process)
    if (kind === 'crash') {
      process.kill()
      this.#scheduler.time.drop(process)
      if (one !== undefined) this.#replace(one)
      else this.#alarm(this.#faults.length_ms(0, 100), this.#onKill.get(process) ?? (() => {}))
      return 'struck'
    }
    if (kind === 'stall' || kind === 'stall and substitute') {
      process.stall()
      this.#alarm(this.#faults.length_ms(10, this.#silent ? 6_000 : 900), () => process.goOn())
      if (kind === 'stall and substitute' && one !== undefined) this.start(one.processor)
      return 'struck'
    }
    if (kind === 'blobs away') {
      this.#blobs_away = true
      this.#alarm(this.#faults.length_ms(10, 900), () => {
        this.#blobs_away = false
      })
    }
    if (kind === 'wall clock') this.#scheduler.time.setWall(this.#faults.length_ms(-2_000, 2_000))
    if (one === undefined) return 'goes on'
    if (kind === 'restart') one.stop()
    if (kind === 'newcomer' && this.workersOf(one.processor).length < MOST_WORKERS_OF_A_STAGE) this.start(one.processor)
    return 'goes on'
  }

  workersOf(processor: Processor): WorkerProcess[] {
    return [...this.workers].filter((one) => one.processor === processor)
  }

  /** Everything is read, committed and, for the effect, answered; no process is stalled or about to start. */
  isIdle(): boolean {
    if (this.#alarms > 0) return false
    for (const { process, idle } of this.workers) if (process.state !== 'running' || !idle()) return false
    return this.isRead(this.stages)
  }

  /** Every record has been read by a live owner of its partition. */
  isRead(stages: readonly Processor[]): boolean {
    return stages.every((processor) => this.#isOwned(processor) && this.#hasReadAll(processor))
  }

  /** A killed worker's partitions have no owner until its session expires and another worker restores them. */
  #isOwned(processor: Processor): boolean {
    let owned = 0
    for (const { claim, taken_up } of this.workersOf(processor)) {
      if (claim === undefined) continue
      for (const [partition, epoch] of this.broker.owned(claim.group, claim.member)) {
        if (claim.epochs.get(partition) === epoch && taken_up.has(partition)) owned++
      }
    }
    return owned === this.inputs.partitions
  }

  /** The state of all workers, for a message. */
  describe(): string {
    const workers = [...this.workers].map(
      ({ process, idle }) => `${process.name} ${process.state} ${idle() ? 'idle' : 'busy'}`,
    )
    const behind = this.stages.filter((processor) => !this.#hasReadAll(processor)).map(({ name }) => name)
    return `${workers.join(', ')}; behind: ${behind.join(', ') || 'nobody'}; ${this.#alarms} alarms`
  }

  #hasReadAll(processor: Processor): boolean {
    const committed = new Map(
      this.broker.committed(processor.name).map((at) => [`${at.topic}/${at.partition}`, at.next]),
    )
    return inputTopics(processor).every((topic) =>
      this.broker
        .partitions(topic)
        .every(({ end }, partition) => (committed.get(`${topic}/${partition}`) ?? 0n) >= end),
    )
  }

  /** Starts a worker in place of a killed or stopped one, under the same name or another. */
  #replace(one: WorkerProcess): void {
    this.workers.delete(one)
    const instance = this.#random.uniform() < 0.5 ? one.instance : `${this.#instances++}`
    this.#alarm(this.#faults.length_ms(0, 100), () => this.start(one.processor, instance))
  }

  #ended(one: WorkerProcess, error?: unknown): void {
    one.ended = true
    if (this.#alone && error instanceof TopicReplacedError) this.refusals.push(error.message)
    else if (error !== undefined)
      this.violations.push(`${one.process.name} died of ${String((error as Error).stack ?? error)}`)
    one.process.kill()
    if (this.#is_over) this.workers.delete(one)
    else this.#replace(one)
  }

  /** Starts one worker of each of these stages, after `end`: a worker that ends is not replaced. */
  startAlone(stages: readonly Processor[]): void {
    this.#alone = true
    for (const processor of stages) this.start(processor)
  }
  #alone = false

  /** Stops every worker as SIGTERM would. */
  end(): void {
    this.#is_over = true
    for (const one of this.workers) this.#scheduler.run(one.process, () => one.stop())
  }
  #is_over = false

  #alarm(ms: number, ring: () => void): void {
    this.#alarms++
    this.#scheduler.time.start(WORLD, ms, () => {
      this.#alarms--
      ring()
    })
  }

  #process(name: string, is_worker: boolean): { handle: MemoryLog; process: SimulatedProcess } {
    const { time } = this.#scheduler
    const clock = { now_ms: () => time.now_ms, sleep: () => new Promise<void>(() => {}) }
    // A process that polls every 200 ms and sends no other heartbeats needs a longer session.
    const heartbeats = this.#silent ? 'poll' : 'always'
    const handle = memoryLog({ broker: this.broker, clock, heartbeats })
    const pace = this.#random.uniform() < 0.2 ? 0.2 : 1
    return { handle, process: new SimulatedProcess({ name, is_worker, pace, handle, broker: this.broker }) }
  }

  #log(inner: MemoryLog, owner: SimulatedProcess, onPolled: (member: Member, polled: Polled) => void): SimulatedLog {
    const { broker } = this
    const late = (arrive: () => void) => this.#alarm(this.#faults.length_ms(0, 60), arrive)
    return new SimulatedLog({
      inner,
      broker,
      owner,
      scheduler: this.#scheduler,
      conduct: this.#conduct,
      onPolled,
      late,
    })
  }

  #blobs(owner: SimulatedProcess): Blobs {
    const call = async (what: string) => {
      const kinds = { may_fail: true, is_delicate: true, needs_blobs: true }
      const fault = await this.#scheduler.turn(owner, what, kinds)
      if (this.#blobs_away) throw new BlobsAwayError(`simulated: ${what}: the store is away`)
      if (fault === 'call failed') throw new Error(`simulated: ${what} failed`)
    }
    return {
      has: (ref) => this.blobs.has(ref),
      put: async (bytes, media_type) => {
        await call('put a blob')
        const ref = await this.blobs.put(bytes, media_type)
        this.#columns.set(ref.sha256, bytes)
        return ref
      },
      get: async (ref) => {
        await call('get a blob')
        return await this.blobs.get(ref)
      },
    }
  }

  #tuning() {
    const draw = this.#random
    return {
      commit_interval_ms: draw.integer(0, 40),
      session_timeout_ms: this.#silent ? draw.integer(1_000, 3_000) : draw.integer(50, 300),
      snapshot_every: draw.integer(1, 12),
      max_unsaved_bytes: draw.integer(1, 20_000),
    }
  }

  #tell(one: WorkerProcess, event: WorkerEvent): void {
    if (event.kind === 'restored') one.taken_up.add(event.partition)
    if (event.kind === 'lost') for (const partition of event.partitions) one.taken_up.delete(partition)
    const detail = event.kind === 'retrying' ? event.error.message : 'partition' in event ? event.partition : ''
    this.#scheduler.note(`${one.process.name}: ${event.kind} ${detail}`)
  }
}
