import type { WorkerEvent } from '../infra/runtime/work/worker.ts'
import { ToldOnce } from '../infra/told-once.ts'
import { number } from '../pipeline/text/number.ts'
import { printable } from '../pipeline/text/terminal-text.ts'
import type { Sink } from '../sinks/sink.ts'
import { type UnreadableCounts, unreadableTotal } from '../sinks/unreadable-record.ts'

interface Stage {
  records: number
  outputs: number
  dead_letters: number
}

/** What the workers of a run did: a live line on a terminal, totals at the end. */
export class RunReport {
  readonly #silent: boolean
  readonly #stages = new Map<string, Stage>()
  readonly #started = performance.now()
  readonly #troubles = new ToldOnce((message) => this.say(message))
  #lag: ReadonlyMap<string, bigint> = new Map()
  #drawn_ms = 0
  #sinks: readonly Sink[] = []

  constructor(options: { readonly silent: boolean }) {
    this.#silent = options.silent
  }

  workerEvent(processor: string, event: WorkerEvent): void {
    const stage = this.#stages.get(processor) ?? { records: 0, outputs: 0, dead_letters: 0 }
    this.#stages.set(processor, stage)
    if (event.kind === 'committed' || event.kind === 'restored') this.#troubles.over(processor)
    if (event.kind === 'committed') {
      stage.records += event.records
      stage.outputs += event.outputs
      stage.dead_letters += event.dead_letters
      if (event.dead_letters > 0) {
        this.say(`${processor}: ${event.dead_letters} dead letters; see: ./plumbline dlq list`)
      }
    } else if (event.kind === 'retrying') {
      const { message } = event.error
      this.#troubles.tell(
        processor,
        message,
        `${processor}: ${message}; it tries again until that is over, nothing is lost`,
      )
    } else if (event.kind === 'notice') {
      this.say(`${processor}: ${event.message}`)
    } else if (event.kind === 'skipped') {
      const { topic, partition, from, to } = event
      this.say(
        `${processor}: retention removed ${topic} partition ${partition} from offset ${from} on before it was read; going on at ${to}, what lay between is lost to ${processor}`,
      )
    } else if (event.kind === 'lost') {
      this.say(`${processor}: partitions ${event.partitions.join(', ')} have another owner now`)
    }
    this.#draw()
  }

  lag(lag: ReadonlyMap<string, bigint>): void {
    this.#lag = lag
    this.#draw()
  }

  /** @param only_sinks no processor ran */
  end({ stopped = false, only_sinks = false } = {}): void {
    if (this.#silent) return
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
    const seconds = (performance.now() - this.#started) / 1_000
    for (const sink of this.#sinks) {
      const unreadable = unreadableTotal(sink.health.unreadable)
      if (unreadable > 0) process.stderr.write(`${sink.name}: cannot read ${sink.unreadableText(unreadable)}\n`)
    }
    if (!only_sinks && [...this.#stages.values()].every(({ records }) => records === 0)) {
      if (!stopped) process.stderr.write('run: nothing to compute; ./plumbline generate appends new work\n')
      return
    }
    for (const [name, { records, outputs, dead_letters }] of this.#stages) {
      const dead = dead_letters > 0 ? `, ${number(dead_letters)} dead letters` : ''
      process.stderr.write(`${name}: ${number(records)} records in, ${number(outputs)} events out${dead}\n`)
    }
    process.stderr.write(`run: ${seconds.toFixed(1)} s\n`)
  }

  /** Reports what these sinks could not read. */
  sinks(sinks: readonly Sink[]): void {
    this.#sinks = sinks
  }

  /** `unreadable` has the records of each topic that a sink could not read: of the sink that lacks most of them. */
  totals(): { readonly stages: Record<string, Stage>; readonly unreadable?: UnreadableCounts } {
    const most: Record<string, number> = {}
    for (const { health } of this.#sinks) {
      for (const [topic, count] of Object.entries(health.unreadable)) most[topic] = Math.max(count, most[topic] ?? 0)
    }
    const unreadable = Object.keys(most).length === 0 ? {} : { unreadable: most }
    return { stages: Object.fromEntries(this.#stages), ...unreadable }
  }

  /** Prints a message on its own line, above the live one. */
  say(message: string): void {
    if (this.#silent) return
    process.stderr.write(`${process.stderr.isTTY ? '\r\x1b[K' : ''}plumbline: ${printable(message)}\n`)
  }

  #draw(): void {
    const now = performance.now()
    if (this.#silent || !process.stderr.isTTY || now - this.#drawn_ms < 200) return
    this.#drawn_ms = now
    const seconds = (now - this.#started) / 1_000
    const parts = [...this.#stages].map(([name, stage]) => {
      const lag = this.#lag.get(name) ?? 0n
      return `${name} ${number(stage.records)} (${number(stage.records / seconds)}/s${lag > 0n ? `, ${lag} behind` : ''})`
    })
    process.stderr.write(`\r\x1b[K${parts.join('  ')}`)
  }
}
