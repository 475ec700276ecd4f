import type { Stage } from '../../processors/processor.ts'
import { canonicalHash, firstDifference } from '../../schemas/canonical.ts'
import { PoisonError } from '../../schemas/codec.ts'
import type { Log, LogRecord } from '../log/log.ts'
import { decodeRecord } from './decode-record.ts'
import { sourceOf } from './emission.ts'
import { execute } from './execution.ts'
import { headerOf, readRange } from './json-records.ts'
import { type RerunOptions, rerun } from './rerun.ts'

export interface Difference {
  readonly kind: 'different' | 'missing' | 'unexpected' | 'unreadable'
  readonly processor: string
  readonly ce_id: string
  /** Event type, partition and offset of the recorded event, or where it should be. */
  readonly where: string
  /** What differs, with both values. */
  readonly message: string
}

export interface VerifyReport {
  readonly processor: string
  readonly rebuilt: number
  readonly equal: number
  readonly recorded: number
  readonly differences: number
  readonly first?: Difference
}

interface Recorded {
  readonly hash: string
  readonly partition: number
  readonly offset: bigint
}

/**
 * Computes every derived event of a stage again, in journal order, and compares it by `ce_id` with what the log holds.
 * What the stage has not read yet is not expected.
 */
export async function verifyStage(
  stage: Stage,
  options: RerunOptions & { readonly onProgress?: (rebuilt: number) => void },
): Promise<VerifyReport> {
  const { log, blobs, vocabulary, partitions } = options
  const processor = stage.create(stage.variant)
  const findings = new Findings(stage.name)
  // In the order of the log: a source may deliver an event twice, and what follows from it is then recorded twice.
  const recorded = new Map<string, Recorded[]>()
  const types = new Map(processor.outputs.map((type) => [type.type, type]))

  for (const type of types.values()) {
    for (let partition = 0; partition < partitions; partition++) {
      for await (const record of readRange(log, type.type, partition, 0n)) {
        if (headerOf(record, 'ce_source') !== sourceOf(stage.name)) continue
        try {
          const event = await decodeRecord(record, vocabulary, partitions, blobs)
          const hash = canonicalHash(type, event)
          const known = recorded.get(event.id)
          if (known === undefined) recorded.set(event.id, [{ hash, partition, offset: record.offset }])
          else known.push({ hash, partition, offset: record.offset })
          findings.recorded++
        } catch (error) {
          if (!(error instanceof PoisonError)) throw error
          findings.add('unreadable', headerOf(record, 'ce_id') ?? '?', placeOf(record), (error as PoisonError).message)
        }
      }
    }
  }

  for (let partition = 0; partition < partitions; partition++) {
    for await (const outputs of rerun(execute(processor), stage.name, partition, stage.create, options)) {
      for (const { type, event } of outputs) {
        findings.rebuilt++
        const found = recorded.get(event.id)?.shift()
        if (found === undefined) {
          findings.add(
            'missing',
            event.id,
            `${type.type}, key ${event.key}`,
            'the rebuild says it and the log does not hold it',
          )
        } else if (found.hash === canonicalHash(type, event)) {
          findings.equal++
        } else {
          const record = await recordAt(log, type.type, found)
          const before = await decodeRecord(record, vocabulary, partitions, blobs)
          const difference = firstDifference(type, event, before)
          findings.add(
            'different',
            event.id,
            placeOf(record),
            difference === undefined
              ? 'the values differ in their canonical hash alone'
              : `${difference.path}: recorded ${difference.actual}, rebuilt ${difference.expected}`,
          )
        }
      }
      options.onProgress?.(findings.rebuilt)
    }
  }

  for (const [id, left] of recorded) {
    for (const { partition, offset } of left) {
      findings.add(
        'unexpected',
        id,
        `partition ${partition} offset ${offset}`,
        'the log holds it and no rebuild says it',
      )
    }
  }
  return findings.report()
}

class Findings {
  readonly #processor: string
  #first: Difference | undefined
  #count = 0
  rebuilt = 0
  equal = 0
  recorded = 0

  constructor(processor: string) {
    this.#processor = processor
  }

  add(kind: Difference['kind'], ce_id: string, where: string, message: string): void {
    this.#count++
    this.#first ??= { kind, processor: this.#processor, ce_id, where, message }
  }

  report(): VerifyReport {
    const { rebuilt, equal, recorded } = this
    const report = { processor: this.#processor, rebuilt, equal, recorded, differences: this.#count }
    return this.#first === undefined ? report : { ...report, first: this.#first }
  }
}

async function recordAt(log: Log, topic: string, { partition, offset }: Recorded): Promise<LogRecord> {
  const { records } = await log.read({ topic, partition, from: offset, max_bytes: 1 })
  const [record] = records
  if (record?.offset !== offset)
    throw new Error(`${topic} partition ${partition} offset ${offset} was there and is gone`)
  return record
}

const placeOf = (record: LogRecord) => `${record.topic} partition ${record.partition} offset ${record.offset}`

/** Every stage whose outputs are derived; what an effect recorded are facts and not computed again. */
export function verifiable(stages: readonly Stage[]): Stage[] {
  return stages.filter((stage) => stage.create(stage.variant).produces === 'derived')
}
