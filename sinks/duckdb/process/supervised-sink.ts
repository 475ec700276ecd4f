import { setTimeout as wait } from 'node:timers/promises'
import { longerPause, type Pauses, retryOf } from '../../../infra/retry.ts'
import type { LoadedOnce } from '../../sink.ts'
import { damaged } from '../damaged-database.ts'
import { DatabaseProcessEndedError } from '../database-errors.ts'
import type { Loaded } from '../loader.ts'
import { noteEnd } from '../owner-record.ts'
import type { TablesHealth, TablesSink } from '../tables-sink.ts'
import { unreadableText } from '../unreadable-text.ts'
import { DatabaseProcess } from './database-process.ts'
import { inMebibytes, memoryShares } from './memory.ts'
import type { OwnerOptions } from './owner.ts'

export interface SupervisedSinkOptions {
  /** The module of the process that owns the tables; it calls `ownTables`. */
  readonly entry: URL
  /** Memory limit of that process, bytes; see `memoryShares`. */
  readonly memory?: number | undefined
  /** Called with messages for a person: waiting, a failure that is being retried, a restarted process. */
  readonly report?: (message: string) => void
}

/** How to open the tables. DuckDB's memory limit follows from that of the process. */
export type OwnerHow = Omit<OwnerOptions, 'memory_limit'>

/** A process that ran this long after it opened the file is restarted without a pause. */
const STEADY_MS = 2_000
const PAUSES: Pauses = { first_ms: 200, longest_ms: 3_000 }
/** `loadOnce` gives up after this many deaths, since its caller waits. */
const MOST_DEATHS = 5
/** `run` gives up when this many processes in a row end before they have opened the file. */
const MOST_UNOPENED = 8

/**
 * Runs the tables in a child process, which this one starts, watches and restarts. A question that ends it (by its
 * memory, its time limit or a crash of DuckDB) costs one restart: loading resumes from the positions that were
 * committed with the rows, and the workers of this process never stop.
 */
export class SupervisedSink implements TablesSink {
  readonly name = 'duckdb'
  readonly unreadableText = unreadableText
  readonly #options: SupervisedSinkOptions
  #how: OwnerHow | undefined
  /** Started before `open` is called, so that it loads its program meanwhile. */
  #process: DatabaseProcess | undefined
  #opening: Promise<DatabaseProcess> | undefined
  #opened_ms = Number.POSITIVE_INFINITY
  #socket: string | undefined
  #closed = false
  #health: TablesHealth = { trouble: undefined, retries: 0, unreadable: {} }
  /** Retries of processes that have ended. */
  #earlier_retries = 0
  #restarts = 0
  /** How many processes in a row have ended while they opened the file. */
  #unopened = 0
  #why: string | undefined
  #pause_ms = 0
  #trouble: string | undefined
  #said = ''

  constructor(options: SupervisedSinkOptions) {
    this.#options = options
    this.#process = this.#start()
  }

  /**
   * A process that ends before it has opened the file is started again.
   *
   * @throws DatabaseBusyError naming the process that owns the tables; DatabaseVersionError; DatabaseDamagedError when
   * too many processes end; what the log throws.
   */
  async open(how: OwnerHow): Promise<void> {
    this.#how = how
    for (;;) {
      try {
        await this.#current()
        return
      } catch (cause) {
        if (!(cause instanceof DatabaseProcessEndedError) || this.#closed) throw cause
        if (this.#unopened >= MOST_UNOPENED) throw this.#cannotBeOpened()
        await wait(this.#pause_ms)
      }
    }
  }

  get socket(): string | undefined {
    return this.#socket
  }

  /** Of the process that owns the tables. */
  get pid(): number | undefined {
    return this.#process?.pid
  }

  get health(): TablesHealth {
    const { trouble, retries, ...more } = this.#health
    return {
      ...more,
      trouble: this.#trouble ?? trouble,
      retries: this.#earlier_retries + retries,
      restarts: this.#restarts,
      memory_bytes: this.#process?.memory_bytes,
    }
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const process = await this.#current()
        await process.call({ call: 'run' }, signal)
      } catch (cause) {
        if (this.#closed || retryOf(cause) === 'never') throw cause
        if (this.#unopened >= MOST_UNOPENED) throw this.#cannotBeOpened()
        this.#failed(cause)
        await wait(this.#pause_ms, undefined, { signal }).catch(() => {})
      }
    }
  }

  async loadOnce(signal?: AbortSignal): Promise<Loaded & LoadedOnce> {
    for (let deaths = 1; ; deaths += 1) {
      try {
        const process = await this.#current()
        return await process.call({ call: 'load_once' }, signal)
      } catch (cause) {
        if (!(cause instanceof DatabaseProcessEndedError) || deaths === MOST_DEATHS) throw cause
        if (signal?.aborted) return { rows: 0, records: 0, caught_up: false }
        await wait(this.#pause_ms)
      }
    }
  }

  async lag(): Promise<bigint> {
    return (await this.#current()).call({ call: 'lag' })
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#opening?.catch(() => {})
    await this.#process?.close()
  }

  #start(): DatabaseProcess {
    const { entry, memory } = this.#options
    return new DatabaseProcess({
      entry,
      memory: memoryShares(memory),
      report: (message) => this.#say(message),
      onHealth: (health) => {
        this.#health = health
      },
    })
  }

  /** The process that has the tables open; a new one when the last has ended. */
  #current(): Promise<DatabaseProcess> {
    if (this.#closed) throw new Error('the tables are closed')
    this.#opening ??= this.#openIn(this.#process ?? this.#start())
    return this.#opening
  }

  async #openIn(process: DatabaseProcess): Promise<DatabaseProcess> {
    const how = this.#how
    if (how === undefined) throw new Error('the tables are not open')
    this.#process = process
    void process.ended.then((why) => this.#hasEnded(process, how.file, why))
    try {
      const memory_limit = inMebibytes(memoryShares(this.#options.memory).duckdb)
      this.#socket = await process.call({ call: 'open', options: { memory_limit, ...how } })
    } catch (cause) {
      // If the file could not be opened, the same process can be asked again, unless it has ended.
      this.#opening = undefined
      throw cause
    }
    this.#opened_ms = performance.now()
    this.#unopened = 0
    if (this.#trouble !== undefined) this.#say('the tables are loaded again')
    this.#trouble = undefined
    return process
  }

  #hasEnded(process: DatabaseProcess, file: string, why: string | undefined): void {
    if (this.#process !== process) return
    this.#process = undefined
    this.#opening = undefined
    if (why === undefined || this.#closed) return
    this.#unopened += this.#opened_ms === Number.POSITIVE_INFINITY ? 1 : 0
    this.#why = why
    const steady = performance.now() - this.#opened_ms > STEADY_MS
    this.#opened_ms = Number.POSITIVE_INFINITY
    this.#pause_ms = steady ? 0 : longerPause(this.#pause_ms, PAUSES)
    this.#restarts += 1
    this.#earlier_retries += this.#health.retries
    this.#health = { ...this.#health, trouble: undefined, retries: 0 }
    this.#tell(`the DuckDB process (pid ${process.pid}) has ended: ${why}. It is started again, nothing is lost`)
    if (process.pid !== undefined) noteEnd(file, { pid: process.pid, why })
  }

  #cannotBeOpened(): Error {
    const file = this.#how?.file ?? ''
    return damaged(
      file,
      `${this.#unopened} processes that ended while they opened it, the last one because ${this.#why}`,
    )
  }

  #failed(cause: unknown): void {
    if (cause instanceof DatabaseProcessEndedError) return // reported when it ended
    this.#pause_ms = longerPause(this.#pause_ms, PAUSES)
    this.#tell(`the tables cannot be opened, and are tried again: ${cause instanceof Error ? cause.message : cause}`)
  }

  #tell(trouble: string): void {
    if (trouble === this.#trouble) return
    this.#trouble = trouble
    this.#say(trouble)
  }

  /** Reports a message once, not at every retry. */
  #say(message: string): void {
    if (message !== this.#said) this.#options.report?.(message)
    this.#said = message
  }
}
