import type { Transform } from '../../processors/processor.ts'
import type { Event } from '../../schemas/declare/event.ts'
import { partitionsOf } from '../../schemas/wire/partitions.ts'
import { partitionName } from '../log/port/partition-name.ts'
import { decodeUnlessPoison } from '../runtime/execute/decode-record.ts'
import type { Output } from '../runtime/execute/emission.ts'
import { callTransform } from '../runtime/execute/transform-call.ts'
import { reachOf } from '../runtime/state/rerun.ts'
import { Comparison, type VerifyReport } from './comparison.ts'
import { damagedPlace, readPast } from './places.ts'
import type { VerifyOptions } from './verify-stage.ts'

export interface SweepToVerify {
  readonly transform: Transform
  /** The group under which `sweep` committed its positions. */
  readonly group: string
  /** Name in the report. */
  readonly name: string
  /** Which of the transform's recorded outputs are this sweep's. */
  readonly wanted: (event: Event) => boolean
}

/**
 * Recomputes the events of a sweep and compares them by `ce_id` with the log. Outputs are expected for every input
 * below the committed position. A copy of a log has no positions, so they are also expected for every input up to the
 * last one whose outputs the log holds.
 */
export async function verifySweep(sweep: SweepToVerify, options: VerifyOptions): Promise<VerifyReport> {
  const verification = await SweepVerification.begin(sweep, options)
  await verification.comparison.read()
  return await verification.finish(options.onProgress)
}

/** In three steps, like `StageVerification`. */
export class SweepVerification {
  readonly name: string
  readonly comparison: Comparison
  readonly #transform: Transform
  readonly #options: VerifyOptions
  /** By topic and partition. */
  readonly #committed: ReadonlyMap<string, bigint>

  private constructor(
    { name, transform }: SweepToVerify,
    comparison: Comparison,
    options: VerifyOptions,
    committed: ReadonlyMap<string, bigint>,
  ) {
    this.name = name
    this.comparison = comparison
    this.#transform = transform
    this.#options = options
    this.#committed = committed
  }

  static async begin(sweep: SweepToVerify, options: VerifyOptions): Promise<SweepVerification> {
    const { transform, group, name, wanted } = sweep
    const comparison = await Comparison.begin(transform, { ...options, name, wanted })
    const committed = (await options.log.committed(group)).map((at) => [partitionName(at), at.next] as const)
    return new SweepVerification(sweep, comparison, options, new Map(committed))
  }

  async finish(onProgress?: (rebuilt: number) => void): Promise<VerifyReport> {
    for (const { type: topic } of this.#transform.inputs) {
      for (let partition = 0; partition < partitionsOf(this.#options.partitions, topic); partition++) {
        await this.#partition(topic, partition, onProgress)
      }
    }
    return this.comparison.report()
  }

  async #partition(topic: string, partition: number, onProgress?: (rebuilt: number) => void): Promise<void> {
    const { log, blobs, vocabulary, partitions } = this.#options
    const passed = this.#committed.get(partitionName({ topic, partition })) ?? 0n
    /** Recomputed outputs, not known yet to be expected in the log. */
    let open: Output[] = []
    const records = readPast(log, topic, partition, (damage) =>
      this.comparison.leaveOut(`what followed from ${damagedPlace(damage)}, which is damaged`),
    )
    for await (const record of records) {
      // The sweep skipped those that cannot be decoded, too.
      const event = await decodeUnlessPoison(record, vocabulary, partitions, blobs)
      if (event === undefined) continue
      const { outputs } = await callTransform(this.#transform, [event], reachOf(this.#options))
      open.push(...outputs)
      if (record.offset >= passed && !outputs.some((output) => this.comparison.holds(output))) continue
      for (const output of open) await this.comparison.compare(output)
      open = []
      onProgress?.(this.comparison.rebuilt)
    }
  }
}
