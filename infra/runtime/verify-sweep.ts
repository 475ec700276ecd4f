import type { Transform } from '../../processors/processor.ts'
import { PoisonError } from '../../schemas/codec.ts'
import type { Event } from '../../schemas/event.ts'
import { partitionsOf } from '../../schemas/partitions.ts'
import { Comparison, outputEnds, type VerifyReport } from './comparison.ts'
import { decodeRecord } from './decode-record.ts'
import { emission, type Output } from './emission.ts'
import { readRange } from './json-records.ts'
import type { VerifyOptions } from './verify.ts'

export interface SweepToVerify {
  readonly transform: Transform
  /** Under which `sweep` kept how far it has come. */
  readonly group: string
  /** For the report. */
  readonly name: string
  /** Which of the transform's recorded outputs are this sweep's. */
  readonly wanted: (event: Event) => boolean
}

/**
 * Says again what a sweep has said, and compares it by `ce_id` with what the log holds. Expected is what follows from
 * the inputs that the sweep has committed, and from those before one whose outputs are there: a copy of a log has no
 * positions of it.
 */
export async function verifySweep(
  { transform, group, name, wanted }: SweepToVerify,
  options: VerifyOptions,
): Promise<VerifyReport> {
  const { log, blobs, vocabulary, partitions } = options
  const ends_before = await outputEnds(transform, log)
  const committed = new Map((await log.committed(group)).map((at) => [`${at.topic}/${at.partition}`, at.next]))
  const comparison = await Comparison.read(transform, ends_before, options, { name, wanted })
  for (const { type: topic } of transform.inputs) {
    for (let partition = 0; partition < partitionsOf(partitions, topic); partition++) {
      const passed = committed.get(`${topic}/${partition}`) ?? 0n
      /** Said again, and not known yet whether they should be in the log. */
      let open: Output[] = []
      for await (const record of readRange(log, topic, partition, 0n)) {
        const event = await decodeRecord(record, vocabulary, partitions, blobs).catch((error: unknown) => {
          // The sweep has passed it over, too.
          if (error instanceof PoisonError) return undefined
          throw error
        })
        if (event === undefined) continue
        const { emit, outputs } = emission(transform, [event])
        await transform.apply([event], emit)
        open.push(...outputs)
        if (record.offset >= passed && !outputs.some((output) => comparison.holds(output))) continue
        for (const output of open) await comparison.compare(output)
        open = []
        options.onProgress?.(comparison.rebuilt)
      }
    }
  }
  return comparison.report()
}
