import { ChildEndedError, SupervisedChild } from '../../../infra/supervise/supervised-child.ts'
import {
  DatabaseBusyError,
  DatabaseDamagedError,
  DatabaseProcessEndedError,
  NoDatabaseError,
} from '../database-errors.ts'
import type { TablesHealth } from '../tables-sink.ts'
import type { MemoryShares } from './memory.ts'
import type { Call, Told } from './messages.ts'
import { QuestionWatch } from './question-watch.ts'

export interface DatabaseProcessOptions {
  /** The module that it runs; it answers with `answerStarter`. */
  readonly entry: URL
  readonly memory: MemoryShares
  readonly report?: (message: string) => void
  readonly onHealth?: (health: TablesHealth) => void
}

/** Error classes that callers distinguish. */
const CLASSES = [DatabaseBusyError, DatabaseDamagedError, NoDatabaseError]
/**
 * Each step of a statement occupies one of Node's threads. With Node's default of four, four long questions would stop
 * loading and block all others; this is enough for all that are answered at once.
 */
const THREADS = '16'

/**
 * A child process that has a DuckDB file open. It is killed when it exceeds its memory limit or when a question exceeds
 * its time limit, and it ends itself when this process ends.
 */
export class DatabaseProcess {
  readonly #child: SupervisedChild
  readonly #options: DatabaseProcessOptions
  readonly #questions: QuestionWatch

  /** Starts the process, which loads its program in the background. The first call must be `open`. */
  constructor(options: DatabaseProcessOptions) {
    this.#options = options
    this.#questions = new QuestionWatch((limit_ms) =>
      this.#child.kill(
        `a question went on after its time limit of ${limit_ms / 1_000} s, and could not be interrupted`,
      ),
    )
    this.#child = new SupervisedChild({
      entry: options.entry,
      what: 'the DuckDB process',
      memory: options.memory,
      memory_note: () => ` (--sql-memory)${this.#questions.count > 0 ? ' while it answered questions' : ''}`,
      env: { UV_THREADPOOL_SIZE: THREADS },
      classes: CLASSES,
      onTold: (told) => this.#hear(told as Told),
    })
    void this.ended.then(() => this.#questions.stop())
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** Resolves to why it ended, for a person; undefined when it was asked to end. */
  get ended(): Promise<string | undefined> {
    return this.#child.ended
  }

  /** Last measured, bytes. */
  get memory_bytes(): number | undefined {
    return this.#child.memory_bytes
  }

  /**
   * @param signal asks the process to end the call soon, with what it has done
   * @throws DatabaseProcessEndedError when the process ends before it answers; otherwise what the call throws
   */
  async call<T>({ call, options }: Call, signal?: AbortSignal): Promise<T> {
    try {
      return await this.#child.call(call, options, signal)
    } catch (error) {
      throw error instanceof ChildEndedError ? new DatabaseProcessEndedError(error.message) : error
    }
  }

  /** Lets it finish its work and close the file; kills it if that takes too long. */
  async close(): Promise<void> {
    await this.#child.close()
  }

  #hear(told: Told): boolean {
    switch (told.kind) {
      case 'report':
        this.#options.report?.(told.message)
        return true
      case 'health':
        this.#options.onHealth?.(told.health)
        return true
      case 'question':
        this.#questions.begin(told.question, told.time_limit_ms)
        break
      case 'answered':
        this.#questions.end(told.question)
        break
      default:
        return false
    }
    this.#child.watchful = this.#questions.count > 0
    return true
  }
}
