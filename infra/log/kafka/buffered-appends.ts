import type { NewRecord } from '../port/log.ts'
import { partitionName } from '../port/partition-name.ts'
import type { Appends } from '../port/producer.ts'
import { BatchBuilder } from './batch-builder.ts'

/** Below the broker's default limit of 1 MiB per batch, even for records that do not compress. */
const BATCH_BYTES = 900 * 1024

/** The appends of an open transaction, by partition, in the batches that will be sent. */
export class BufferedAppends implements Appends {
  readonly batches = new Map<
    string,
    { readonly topic: string; readonly partition: number; readonly builders: BatchBuilder[] }
  >()

  add(topic: string, partition: number, record: NewRecord): void {
    const place = partitionName({ topic, partition })
    let into = this.batches.get(place)
    if (into === undefined) {
      into = { topic, partition, builders: [] }
      this.batches.set(place, into)
    }
    let builder = into.builders.at(-1)
    if (builder === undefined || builder.bytes + (record.value?.byteLength ?? 0) > BATCH_BYTES) {
      builder = new BatchBuilder()
      into.builders.push(builder)
    }
    builder.add(record)
  }
}
