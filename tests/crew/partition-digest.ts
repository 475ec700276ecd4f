import { createHash } from 'node:crypto'
import type { LogRecord } from '../../infra/log/log.ts'

/** What a reader has seen of one partition, as one number: another record, order or offset gives another one. */
export class PartitionDigest {
  readonly #hash = createHash('sha256')

  add({ offset, key, headers, value }: LogRecord): void {
    this.#hash.update(JSON.stringify([String(offset), key, headers, value?.byteLength ?? null]))
    if (value !== null) this.#hash.update(value)
  }

  soFar(): string {
    return this.#hash.copy().digest('hex')
  }
}

/** A reader's word: up to `next`, this partition held exactly what gives this digest. */
export interface Checkpoint {
  readonly topic: string
  readonly partition: number
  readonly next: string
  readonly digest: string
}
