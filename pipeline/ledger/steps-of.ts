import { groupsIn } from '../../sinks/duckdb/views/contained.ts'
import type { Ask, Row } from '../ask-rows.ts'
import type { NamedWeights } from './named-weights.ts'

export interface StepGroup {
  readonly group_id: string
  readonly sequence: number
  readonly rank: number
  readonly log_partition: number
  readonly log_offset: number
}

/** An optimiser step of a run that led to weights, with its groups. */
export interface LedgerStep {
  readonly fate: 'contained' | 'rolled_back'
  /** The parent model whose run took it; null: the run of the weights themselves. */
  readonly parent: string | null
  readonly consumer: string
  readonly run: string
  readonly epoch: number
  readonly step: number
  /** By rank, in the order in which the rank trained on them. */
  readonly groups: readonly StepGroup[]
}

/**
 * Streams the steps that weights contain, parents' first, and then those that were rolled back, each in their order.
 *
 * @param where a condition on the columns of `groupsIn`
 */
export async function* stepsOf(ask: Ask, { weights }: NamedWeights, where = 'true'): AsyncGenerator<LedgerStep> {
  const found = ask(`
    SELECT fate, parent, consumer, run, epoch, step,
      list(struct_pack(group_id, sequence, rank, log_partition, log_offset) ORDER BY rank, number, "row") AS groups
    FROM (${groupsIn(weights)})
    WHERE ${where}
    GROUP BY ALL
    ORDER BY fate, parent NULLS LAST, consumer, run, step, epoch`)
  for await (const row of found) yield stepOf(row)
}

function stepOf({ fate, parent, consumer, run, epoch, step, groups }: Row): LedgerStep {
  return {
    fate: fate === 'contained' ? 'contained' : 'rolled_back',
    parent: parent === null || parent === undefined ? null : String(parent),
    ...{ consumer: String(consumer), run: String(run), epoch: Number(epoch), step: Number(step) },
    groups: (groups as unknown as Row[]).map((group) => ({
      group_id: String(group.group_id),
      sequence: Number(group.sequence),
      rank: Number(group.rank),
      log_partition: Number(group.log_partition),
      log_offset: Number(group.log_offset),
    })),
  }
}
