import type { Processor } from '../../../processors/processor.ts'
import type { Partitions } from '../../../schemas/wire/partitions.ts'
import { homesOf } from '../../../schemas/wire/routing.ts'
import type { Blobs } from '../../blobs/blobs.ts'
import { putAll } from '../../blobs/put-all.ts'
import type { Claim, Position, Transaction } from '../../log/port/log.ts'
import type { StateChange } from '../execute/executed.ts'
import { changelogTopic, DEAD_LETTERS_TOPIC, type JournalEntry, journalTopic } from '../internal/internal-topics.ts'
import { toJson } from '../internal/json-records.ts'
import { changelogRecord } from '../state/state-store.ts'
import type { Task, Unsaved } from './task.ts'

/** The counts of one commit, for observers. */
export interface Committed {
  readonly records: number
  readonly outputs: number
  readonly outputs_by_type: Readonly<Record<string, number>>
  readonly dead_letters: number
}

/** The content of one commit. It is taken out of the tasks, which continue with the next records. */
export interface Batch {
  /** The claim under which all of it was read. */
  readonly claim: Claim
  readonly positions: readonly Position[]
  readonly parts: readonly TaskPart[]
}

interface TaskPart {
  readonly partition: number
  readonly unsaved: Unsaved
  readonly changes: readonly StateChange[]
  readonly journal: JournalEntry
}

export function takeParts(tasks: readonly Task[]): TaskPart[] {
  return tasks.map((task) => {
    const journal = task.journalEntry()
    const changes = task.execution.takeChanges()
    task.changes_since_snapshot += changes.length
    return { partition: task.partition, unsaved: task.takeUnsaved(), changes, journal }
  })
}

/** Appends a whole batch to one transaction: all or nothing. */
export function appendBatch(
  transaction: Transaction,
  processor: Processor,
  { claim, positions, parts }: Batch,
  partitions: Partitions,
): Committed {
  const outputs_by_type: Record<string, number> = {}
  const committed = { records: 0, outputs: 0, outputs_by_type, dead_letters: 0 }
  for (const { partition, unsaved, changes, journal } of parts) {
    for (const output of unsaved.outputs) {
      appendOutput(transaction, output, partitions)
      const { type } = output.type
      outputs_by_type[type] = (outputs_by_type[type] ?? 0) + 1
    }
    for (const { key, state } of changes) {
      transaction.append(changelogTopic(processor.name), partition, changelogRecord(processor, key, state))
    }
    for (const letter of unsaved.dead_letters) {
      transaction.append(DEAD_LETTERS_TOPIC, partition, { key: letter.key, headers: [], value: toJson(letter) })
    }
    if (unsaved.records > 0) {
      transaction.append(journalTopic(processor.name), partition, { key: null, headers: [], value: toJson(journal) })
    }
    committed.records += unsaved.records
    committed.outputs += unsaved.outputs.length
    committed.dead_letters += unsaved.dead_letters.length
  }
  transaction.positions(claim, positions)
  return committed
}

function appendOutput(
  transaction: Transaction,
  { type, encoded }: Unsaved['outputs'][number],
  partitions: Partitions,
): void {
  const { key, headers, value } = encoded
  for (const partition of homesOf(type, key, partitions)) {
    transaction.append(type.type, partition, { key, headers, value })
  }
}

/** Blobs are durable before the transaction that names them commits. */
export async function putBlobs({ parts }: Batch, blobs: Blobs): Promise<void> {
  const put = parts.flatMap(({ unsaved }) => [
    ...unsaved.blobs,
    ...unsaved.outputs.flatMap(({ encoded }) => encoded.blobs),
  ])
  await putAll(blobs, put)
}
