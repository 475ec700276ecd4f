import { appendFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { GROUP_SIZE } from './data.ts'
import { Heard } from './heard.ts'
import { GENERATED_SCENES, generatedSeed, type Ledger, ledgerOf } from './ledger.ts'
import type { Message } from './message.ts'
import type { Checkpoint } from './partition-digest.ts'
import { type Place, WORKERS, type WorkerName } from './places.ts'
import type { Planted } from './planted.ts'
import { fileOf, type Program, Slot, type Unasked } from './slot.ts'
import { TablesTrap } from './tables-trap.ts'

export interface CrewOptions {
  readonly root: string
  readonly data: string
  /** Address of a log outside the folder. */
  readonly log: string | undefined
  readonly seed: string
  readonly planted: readonly Planted[]
  /** Errors with which a process may give up because of the test's own faults. */
  readonly excuses: RegExp
  /** Called for each breach as soon as it is seen. */
  readonly onBreach: (breach: string) => void
}

/** For so long after such a fault is repaired, processes may still give up because of it. */
const AFTERMATH_MS = 60_000

const MAIN = fileOf('../../cli/main.ts')

const trapFile = (root: string) => join(root, 'tables-trap')

/** The programs that may have a planted bug. */
export function programsOf({ root, data, planted }: Pick<CrewOptions, 'root' | 'data' | 'planted'>) {
  const bug = planted.length === 0 ? [] : [planted.join()]
  return {
    worker: { file: fileOf('./worker.ts'), args: [data, ...bug] },
    sink: { file: fileOf('./sink.ts'), args: [data, trapFile(root), ...bug] },
  }
}

/** Producers, workers, sink and reader, each in its slot, and the messages they send. */
export class Crew {
  readonly heard = new Heard()
  readonly slots: ReadonlyMap<Place, Slot>
  readonly checkpoints: Checkpoint[] = []
  /** For DuckDB's process, which the sink's process starts. */
  readonly tablesTrap: TablesTrap
  readonly #options: CrewOptions
  readonly #clock: string
  /** Partitions by worker, as `processor/partition`. */
  readonly #owned = new Map<WorkerName, Set<string>>()
  #jobs = { generated: 0, paced: 0 }
  #more = true
  /** `generate` has started a job and not finished it. */
  #generating = false
  #invited = false
  readonly #began_ms = performance.now()
  #trouble_until_ms = 0

  constructor(options: CrewOptions) {
    this.#options = options
    this.tablesTrap = new TablesTrap(trapFile(options.root))
    this.#clock = join(options.root, 'clock')
    this.setClock(0)
    const { data, seed, log } = options
    const env = { TEST_CLOCK: this.#clock, NO_COLOR: '1', ...(log === undefined ? {} : { PLUMBLINE_LOG: log }) }
    const { worker, sink } = programsOf(options)
    const programs: Record<Place, () => Program | undefined> = {
      'worker-1': () => worker,
      'worker-2': () => worker,
      'worker-3': () => worker,
      guest: () => (this.#invited ? worker : undefined),
      sink: () => sink,
      reader: () => ({ file: fileOf('./reader.ts'), args: [data] }),
      generate: () => (this.#more || this.#generating ? { file: MAIN, args: this.#generate() } : undefined),
      pace: () => ({ file: fileOf('./producer.ts'), args: [data, seed, String(this.#jobs.paced)] }),
    }
    this.slots = new Map(
      Object.entries(programs).map(([name, program]) => {
        const place = name as Place
        const slot = new Slot({
          place,
          program,
          env,
          output: join(options.root, `${place}.log`),
          onStart: () => this.#owned.get(place as WorkerName)?.clear(),
          onMessage: (message) => this.#hear(place, message),
          onUnasked: (unasked) => this.#excuse(unasked),
          onDone: () => {
            if (place !== 'generate') return
            this.#jobs.generated++
            this.#generating = false
          },
        })
        return [place, slot]
      }),
    )
    for (const name of WORKERS) this.#owned.set(name, new Set())
  }

  at(place: Place): Slot {
    return this.slots.get(place) as Slot
  }

  start(): void {
    for (const slot of this.slots.values()) slot.start()
  }

  owned(worker: WorkerName): ReadonlySet<string> {
    return this.#owned.get(worker) as Set<string>
  }

  /** One more worker joins. */
  invite(): void {
    this.#invited = true
    this.at('guest').start()
  }

  /** The guest leaves again, as on SIGTERM from a person. */
  dismiss(): void {
    this.#invited = false
    this.at('guest').signal('SIGTERM')
  }

  setClock(shift_ms: number): void {
    writeFileSync(this.#clock, String(shift_ms))
  }

  /** While on, and for AFTERMATH_MS afterwards, processes may give up because of the current fault. */
  troubled(on: boolean): void {
    this.#trouble_until_ms = on ? Number.POSITIVE_INFINITY : performance.now() + AFTERMATH_MS
  }

  /** Lets the producers finish their current jobs, then stops every process. */
  async end(): Promise<Ledger> {
    this.#more = false
    const { heard } = this
    // A producer that was killed between its commit and its acknowledgement sends the acknowledgement now.
    await heard.first(heard.now, 300_000, ({ message: { says } }) => says === 'acknowledged')
    await this.at('pace').end(180_000)
    for (let waited_ms = 0; this.#generating; waited_ms += 50) {
      if (waited_ms > 300_000) throw new Error('generate did not come to the end of its job within 300 s')
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    await heard.first(heard.now, 5_000, ({ place }) => place === 'reader')
    await Promise.all([...WORKERS, 'sink' as const, 'reader' as const].map((place) => this.at(place).end(180_000)))
    return ledgerOf(this.#options.seed, this.#jobs)
  }

  async kill(): Promise<void> {
    for (const slot of this.slots.values()) await slot.kill()
  }

  #generate(): string[] {
    this.#generating = true
    const { data, seed } = this.#options
    const wanted = ['--dataset', 'side_block', '--task', 'x_y', '--scenes', String(GENERATED_SCENES)]
    const rest = ['--seed', generatedSeed(seed, this.#jobs.generated), '--group-size', String(GROUP_SIZE)]
    return ['--data', data, 'generate', 'tower', ...wanted, ...rest]
  }

  #hear(place: Place, message: Message): void {
    const owned = this.#owned.get(place as WorkerName)
    if (message.says === 'restored') owned?.add(`${message.processor}/${message.partition}`)
    else if (message.says === 'lost') {
      for (const partition of message.partitions) owned?.delete(`${message.processor}/${partition}`)
    } else if (message.says === 'breach') this.#options.onBreach(`${place}: ${message.message}`)
    else if (message.says === 'scanned') this.checkpoints.push(...message.checkpoints)
    else if (message.says === 'acknowledged') this.#jobs.paced = message.job + 1
    if (message.says !== 'scanned') {
      const line = `${((performance.now() - this.#began_ms) / 1_000).toFixed(1)} ${JSON.stringify(message)}\n`
      appendFileSync(join(this.#options.root, `${place}.log`), line)
    }
    this.heard.add({ place, pid: this.at(place).pid, message })
  }

  #excuse({ place, how, errors }: Unasked): boolean {
    if (performance.now() < this.#trouble_until_ms && this.#options.excuses.test(errors)) return true
    this.#options.onBreach(
      `${place} ended with ${how}, and nobody had asked it to: ${errors.trim() || 'it printed nothing'}`,
    )
    return false
  }
}
