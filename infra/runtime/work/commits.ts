import type { Producer } from '../../log/port/log.ts'
import { appendBatch, type Batch, putBlobs } from './batch.ts'
import type { WorkerOptions } from './worker-options.ts'

export interface CommitWatch {
  committed(batch: Batch): void
  /** Called as soon as a commit has failed, possibly while the next batch is processed. */
  failed(error: unknown): void
}

/**
 * The commits of one session of a worker, one at a time. While one is being written, the worker computes the next. To
 * know that everything is committed, await `settled`. After a failure nothing more is committed: later batches were
 * computed on top of the lost one.
 */
export class Commits {
  readonly #options: WorkerOptions
  readonly #producer: Producer
  readonly #watch: CommitWatch
  #underWay: Promise<void> | undefined
  #failure: { readonly error: unknown } | undefined

  constructor(options: WorkerOptions, producer: Producer, watch: CommitWatch) {
    this.#options = options
    this.#producer = producer
    this.#watch = watch
  }

  /** Resolves when the previous commit has ended and this one has started. @throws the previous commit's error */
  async begin(batch: Batch): Promise<void> {
    await this.settled()
    this.#underWay = this.#commit(batch)
      .catch((error: unknown) => {
        this.#failure = { error }
        this.#watch.failed(error)
      })
      .finally(() => {
        this.#underWay = undefined
      })
  }

  /** Resolves when every started commit is complete. @throws the error of a failed commit */
  async settled(): Promise<void> {
    await this.#underWay
    this.throwIfFailed()
  }

  /** Does not wait for a commit in progress. @throws the error of a failed commit */
  throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure.error
  }

  /** Resolves when no commit is in progress, failed or not. The next session must not read positions before that. */
  async ended(): Promise<void> {
    await this.#underWay
  }

  async #commit(batch: Batch): Promise<void> {
    const { processor, blobs, partitions, observe, onEvent } = this.#options
    await putBlobs(batch, blobs)
    observe?.('processed')
    const transaction = this.#producer.begin()
    const committed = appendBatch(transaction, processor, batch, partitions)
    observe?.('appended')
    await transaction.commit()
    observe?.('committed')
    this.#watch.committed(batch)
    if (committed.records + committed.outputs > 0) onEvent?.({ kind: 'committed', ...committed })
  }
}
