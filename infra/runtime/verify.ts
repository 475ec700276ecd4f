import type { Processor, Stage } from '../../processors/processor.ts'
import { canonicalHash, firstDifference } from '../../schemas/canonical.ts'
import { PoisonError } from '../../schemas/codec.ts'
import type { Log, LogRecord } from '../log/log.ts'
import { decodeRecord } from './decode-record.ts'
import { type Output, sourceOf } from './emission.ts'
import { execute } from './execution.ts'
import { journalTopic } from './internal-topics.ts'
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

/**
 * Computes every derived event of a stage again, in journal order, and compares it by `ce_id` with what the log holds.
 * What the stage has not read yet is not expected, and what a live worker adds meanwhile is left for the next time.
 */
export async function verifyStage(
  stage: Stage,
  options: RerunOptions & { readonly onProgress?: (rebuilt: number) => void },
): Promise<VerifyReport> {
  const { log, partitions } = options
  const processor = stage.create(stage.variant)
  const findings = new Findings(stage.name)
  // In this order a live worker does no harm: all that the journal names is among the outputs read after it, and what
  // it does not name counts as unexpected only when it was there before.
  const ends_before = new Map<string, readonly bigint[]>()
  for (const { type } of processor.outputs) ends_before.set(type, await log.endOffsets(type))
  const journal_ends = await log.endOffsets(journalTopic(stage.name))
  const recorded = await readRecorded(processor, findings, options)

  for (let partition = 0; partition < partitions; partition++) {
    const until = journal_ends[partition]
    for await (const { outputs } of rerun(execute(processor), stage.name, partition, stage.create, options, until)) {
      for (const output of outputs) await compare(output, recorded, findings, options)
      options.onProgress?.(findings.rebuilt)
    }
  }

  for (const [id, left] of recorded) {
    for (const { topic, partition, offset } of left) {
      if (offset >= (ends_before.get(topic)?.[partition] ?? 0n)) continue
      const where = `${topic} partition ${partition} offset ${offset}`
      findings.add('unexpected', id, where, 'the log holds it and no rebuild says it')
    }
  }
  return findings.report()
}

interface Recorded {
  readonly hash: string
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
}

/** By `ce_id`, in the order of the log: where a source delivers an event twice, what follows is recorded twice. */
type RecordedOutputs = Map<string, Recorded[]>

async function readRecorded(
  processor: Processor,
  findings: Findings,
  { log, blobs, vocabulary, partitions }: RerunOptions,
): Promise<RecordedOutputs> {
  const outputs: RecordedOutputs = new Map()
  for (const type of processor.outputs) {
    for (let partition = 0; partition < partitions; partition++) {
      for await (const record of readRange(log, type.type, partition, 0n)) {
        if (headerOf(record, 'ce_source') !== sourceOf(processor.name)) continue
        findings.recorded++
        try {
          const event = await decodeRecord(record, vocabulary, partitions, blobs)
          const found = { hash: canonicalHash(type, event), topic: type.type, partition, offset: record.offset }
          const known = outputs.get(event.id)
          if (known === undefined) outputs.set(event.id, [found])
          else known.push(found)
        } catch (error) {
          if (!(error instanceof PoisonError)) throw error
          findings.add('unreadable', headerOf(record, 'ce_id') ?? '?', placeOf(record), (error as PoisonError).message)
        }
      }
    }
  }
  return outputs
}

async function compare(
  { type, event }: Output,
  recorded: RecordedOutputs,
  findings: Findings,
  { log, blobs, vocabulary, partitions }: RerunOptions,
): Promise<void> {
  findings.rebuilt++
  const found = recorded.get(event.id)?.shift()
  if (found === undefined) {
    const where = `${type.type}, key ${event.key}`
    findings.add('missing', event.id, where, 'the rebuild says it and the log does not hold it')
  } else if (found.hash === canonicalHash(type, event)) {
    findings.equal++
  } else {
    const record = await recordAt(log, found)
    const before = await decodeRecord(record, vocabulary, partitions, blobs)
    const difference = firstDifference(type, event, before)
    const message =
      difference === undefined
        ? 'the values differ in their canonical hash alone'
        : `${difference.path}: recorded ${difference.actual}, rebuilt ${difference.expected}`
    findings.add('different', event.id, placeOf(record), message)
  }
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

async function recordAt(log: Log, { topic, partition, offset }: Recorded): Promise<LogRecord> {
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
