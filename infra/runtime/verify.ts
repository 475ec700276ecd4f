import type { Stage } from '../../processors/processor.ts'
import { Comparison, outputEnds, type VerifyReport } from './comparison.ts'
import { execute } from './execution.ts'
import { journalTopic } from './internal-topics.ts'
import { CauseExpiredError } from './journal-reader.ts'
import { type RerunOptions, rerun } from './rerun.ts'
import { tasksOf } from './topics.ts'

export interface VerifyOptions extends RerunOptions {
  readonly onProgress?: (rebuilt: number) => void
}

/**
 * Computes every derived event of a stage again, in journal order, and compares it by `ce_id` with what the log holds.
 * What the stage has not read yet is not expected, and what a live worker adds meanwhile is left for the next time. A
 * partition whose inputs retention has removed cannot be computed again: it is named as unverifiable.
 */
export async function verifyStage(stage: Stage, options: VerifyOptions): Promise<VerifyReport> {
  const { log, partitions } = options
  const processor = stage.create(stage.variant)
  // In this order a live worker does no harm: all that the journal names is among the outputs read after it, and what
  // it does not name counts as unexpected only when it was there before.
  const ends_before = await outputEnds(processor, log)
  const journal_ends = await log.endOffsets(journalTopic(stage.name))
  const comparison = await Comparison.read(processor, ends_before, options)
  for (let partition = 0; partition < tasksOf(processor, partitions); partition++) {
    const until = journal_ends[partition]
    try {
      for await (const { outputs } of rerun(execute(processor), stage.name, partition, stage.create, options, until)) {
        for (const output of outputs) await comparison.compare(output)
        options.onProgress?.(comparison.rebuilt)
      }
    } catch (error) {
      if (!(error instanceof CauseExpiredError)) throw error
      comparison.leaveOut(error.message)
    }
  }
  return comparison.report()
}

/** Every stage whose outputs are derived; what an effect recorded are facts and not computed again. */
export function verifiable(stages: readonly Stage[]): Stage[] {
  return stages.filter((stage) => stage.create(stage.variant).produces === 'derived')
}
