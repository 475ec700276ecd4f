import type { Producer } from '../log/log.ts'
import { appendBatch, type Batch, putBlobs } from './commit-tasks.ts'
import type { WorkerOptions } from './worker-options.ts'

/**
 * The commits of one session of a worker, one after the other. While one is under way the worker computes the next;
 * whoever needs to know that everything is committed waits for `settled`. After a failure nothing more is committed: what
 * was computed on top of the lost batch is lost with it.
 */
export class Commits {
  readonly #options: WorkerOptions
  readonly #producer: Producer
  readonly #onCommitted: (batch: Batch) => void
  #underWay: Promise<void> | undefined
  #failure: { readonly error: unknown } | undefined

  constructor(options: WorkerOptions, producer: Producer, onCommitted: (batch: Batch) => void) {
    this.#options = options
    this.#producer = producer
    this.#onCommitted = onCommitted
  }

  /** Resolves when the commit before has ended and this one is under way. @throws what ended the one before */
  async begin(batch: Batch): Promise<void> {
    await this.settled()
    this.#underWay = this.#commit(batch)
      .catch((error: unknown) => {
        this.#failure = { error }
      })
      .finally(() => {
        this.#underWay = undefined
      })
  }

  /** Everything that was begun is committed. @throws what ended the commit */
  async settled(): Promise<void> {
    await this.#underWay
    this.throwIfFailed()
  }

  /** @throws what ended a commit, without waiting for the one under way */
  throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure.error
  }

  /** Nothing is under way any more, whatever became of it: the next session must not read positions before that. */
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
    this.#onCommitted(batch)
    if (committed.records + committed.outputs > 0) onEvent?.({ kind: 'committed', ...committed })
  }
}
