import type { Processor } from '../../processors/processor.ts'
import { partitionOf } from '../../schemas/routing.ts'
import type { Blobs } from '../blobs/blobs.ts'
import type { Transaction } from '../log/log.ts'
import type { Output } from './emission.ts'
import { changelogTopic, DEAD_LETTERS_TOPIC, journalTopic } from './internal-topics.ts'
import { toJson } from './json-records.ts'
import { changelogRecord } from './state-store.ts'
import type { Task } from './task.ts'

/** What a commit held, for those who watch. */
export interface Committed {
  readonly records: number
  readonly outputs: number
  readonly dead_letters: number
}

/** Everything that tasks have computed since their last commit, into one transaction: all of it or nothing. */
export function appendUnsaved(
  transaction: Transaction,
  processor: Processor,
  tasks: readonly Task[],
  partitions: number,
): Committed {
  const committed = { records: 0, outputs: 0, dead_letters: 0 }
  for (const task of tasks) {
    const { partition, unsaved } = task
    for (const output of unsaved.outputs) appendOutput(transaction, output, partitions)
    for (const { key, state } of task.execution.takeChanges()) {
      transaction.append(changelogTopic(processor.name), partition, changelogRecord(processor, key, state))
      task.changes_since_snapshot++
    }
    for (const letter of unsaved.dead_letters) {
      transaction.append(DEAD_LETTERS_TOPIC, partition, { key: letter.key, headers: [], value: toJson(letter) })
    }
    if (unsaved.records > 0) {
      const journal = { key: null, headers: [], value: toJson(task.journalEntry()) }
      transaction.append(journalTopic(processor.name), partition, journal)
    }
    committed.records += unsaved.records
    committed.outputs += unsaved.outputs.length
    committed.dead_letters += unsaved.dead_letters.length
  }
  return committed
}

function appendOutput(transaction: Transaction, { type, encoded }: Output, partitions: number): void {
  const { key, headers, value } = encoded
  if (type.routing === 'every_partition') {
    for (let partition = 0; partition < partitions; partition++) {
      transaction.append(type.type, partition, { key, headers, value })
    }
  } else {
    transaction.append(type.type, partitionOf(key, partitions), { key, headers, value })
  }
}

/** Blobs are durable before the transaction that names them commits. */
export async function putBlobs(tasks: readonly Task[], blobs: Blobs): Promise<void> {
  for (const task of tasks) {
    for (const output of task.unsaved.outputs) {
      for (const blob of output.encoded.blobs) await blobs.put(blob.bytes, blob.ref.media_type)
    }
  }
}
