import type { Processor } from '../../../processors/processor.ts'
import { sizeOf } from '../../log/port/consumer.ts'
import type { LogRecord } from '../../log/port/log.ts'

/** All outputs of one poll are in memory until the next commit. Inferred: a few dozen tensors of 2 MiB. */
const MOST_OUTPUT_BYTES = 64 * 2 ** 20
/** Assumed of a transform that has not run yet: a record of 1 KiB may name a tensor of a mebibyte. */
const OF_A_TRANSFORM = 1_024

/**
 * How many bytes of output, blobs included, follow from one byte of input. A small record may refer to a large tensor, so
 * the size of a poll alone does not bound what a worker holds.
 */
export class Growth {
  #factor: number

  constructor({ shape }: Processor) {
    this.#factor = shape === 'transform' ? OF_A_TRANSFORM : 1
  }

  /** How many bytes the next poll may read. */
  get most_input(): number {
    return Math.max(1, Math.floor(MOST_OUTPUT_BYTES / this.#factor))
  }

  /** A larger factor counts at once, a smaller one step by step. */
  see(records: readonly LogRecord[], output_bytes: number): void {
    const input_bytes = records.reduce((sum, record) => sum + sizeOf(record), 0)
    if (input_bytes > 0) this.#factor = Math.max(1, output_bytes / input_bytes, this.#factor / 2)
  }
}
