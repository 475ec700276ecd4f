import { createHash } from 'node:crypto'
import type { LogRecord } from '../../infra/log/port/log.ts'

/** Digest of the records read from one partition: another record, order or offset changes it. */
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

/** A reader's claim: the records of this partition below offset `next` have this digest. */
export interface Checkpoint {
  readonly topic: string
  readonly partition: number
  readonly next: string
  readonly digest: string
}
