import { hostname } from 'node:os'
import {
  CommitOutcomeUnknownError,
  FencedError,
  type Log,
  type Position,
  type Producer,
  type Transaction,
} from '../../log/port/log.ts'
import { partitionName } from '../../log/port/partition-name.ts'

/** Another live process does the same work. Continuing would fence it, and it would fence this one. */
export class RivalError extends Error {
  override readonly name = 'RivalError'
  readonly retry = 'never'
}

export interface ResumingOptions {
  readonly transactional_id: string
  /** The group under which the work commits its positions. */
  readonly group: string
}

/** Inferred: a coordinator that fails this often, each time for longer than a transaction may take, is faulty. */
const MOST_TRIES = 6
const FIRST_WAIT_MS = 50

/**
 * The producer of work that a single process does and that commits its positions with its records (a source, a replay,
 * a sweep). A broker drops a producer whose transaction takes too long, which looks like being fenced. The producer is
 * then reopened, and the commit is repeated unless it succeeded. Each position names the process that committed it, so
 * a fence by another live process is recognised and ends the work with an error that names it.
 */
export class ResumingProducer {
  readonly #log: Log
  readonly #options: ResumingOptions
  readonly #by = `${hostname().replaceAll(/\s/g, '_')}/${process.pid}/${Math.random().toString(36).slice(2, 10)}`
  /** The group's positions as this process last saw or committed them. */
  #known: readonly Position[]
  #producer: Producer
  /** Why the last transaction may or may not have been committed, until the producer has been reopened. */
  #doubt: Error | undefined

  private constructor(log: Log, options: ResumingOptions, producer: Producer, known: readonly Position[]) {
    this.#log = log
    this.#options = options
    this.#producer = producer
    this.#known = known
  }

  /** Fences every earlier producer of the id: none of their open transactions can commit any more. */
  static async open(log: Log, options: ResumingOptions): Promise<ResumingProducer> {
    const producer = await log.producer({ transactional_id: options.transactional_id })
    return new ResumingProducer(log, options, producer, await log.committed(options.group))
  }

  /** Names this process in the positions that it commits (`Seen.by`). */
  get mark(): string {
    return this.#by
  }

  /** Where the work resumes. */
  get positions(): readonly Position[] {
    return this.#known
  }

  /**
   * Commits the records of `append` together with `positions` of the group, once. `append` may be called several times.
   * After an error whose `retry` is `later`, the same call may be repeated: if the log has it already, nothing is added.
   *
   * @throws RivalError when another process has committed positions of the group since; then nothing was written.
   */
  async commit(append: (transaction: Transaction) => void, positions: readonly Position[]): Promise<void> {
    const marked = positions.map((position) => ({
      ...position,
      seen: { topic_id: '', ...position.seen, by: this.#by },
    }))
    for (let tries = 1; ; tries++) {
      try {
        if (this.#doubt !== undefined && (await this.#isCommitted(marked, this.#doubt))) return
        const transaction = this.#producer.begin()
        append(transaction)
        transaction.standalonePositions(this.#options.group, marked)
        await transaction.commit()
        this.#known = merged(this.#known, marked)
        return
      } catch (error) {
        if (!(error instanceof FencedError || error instanceof CommitOutcomeUnknownError)) throw error
        this.#doubt = error
        if (tries === MOST_TRIES) throw error
        await new Promise((resolve) => setTimeout(resolve, FIRST_WAIT_MS * 2 ** tries * (0.5 + Math.random())))
      }
    }
  }

  /** Reopens the producer, so that the previous transaction can no longer commit, and checks whether it did. */
  async #isCommitted(marked: readonly Position[], error: Error): Promise<boolean> {
    await this.#producer.close().catch(() => undefined)
    this.#producer = await this.#log.producer({ transactional_id: this.#options.transactional_id })
    const now = await this.#log.committed(this.#options.group)
    const rival = now.find((position) => position.seen?.by !== this.#by && !isAmong(position, this.#known))
    if (rival !== undefined) throw this.#rivalError(rival, error)
    this.#known = now
    this.#doubt = undefined
    return marked.length > 0 && marked.every((position) => isAmong(position, now))
  }

  #rivalError({ seen }: Position, cause: Error): RivalError {
    const [host, pid] = seen?.by?.split('/') ?? []
    const other = host === undefined ? 'another process' : `process ${pid} on ${host}`
    return new RivalError(
      `${this.#options.group}: ${other} does the same work and has gone on with it; nothing more was written from here. Let one of them run`,
      { cause },
    )
  }

  async close(): Promise<void> {
    await this.#producer.close()
  }
}

const isAmong = (position: Position, positions: readonly Position[]) =>
  positions.some(
    (known) =>
      partitionName(known) === partitionName(position) &&
      known.next === position.next &&
      known.seen?.by === position.seen?.by,
  )

function merged(known: readonly Position[], committed: readonly Position[]): Position[] {
  return [...new Map([...known, ...committed].map((position) => [partitionName(position), position])).values()]
}
