import { factSourceOf } from '../../infra/ce-source.ts'
import type { LogRecord } from '../../infra/log/port/log.ts'
import { headerOf } from '../../infra/runtime/internal/json-records.ts'
import type { Event } from '../../schemas/declare/event.ts'
import { completionsSampled } from '../../schemas/events/policy.ts'
import { decodeEvent } from '../../schemas/wire/codec.ts'
import { partitionOf } from '../../schemas/wire/routing.ts'
import type { Asked } from './simulated-policy.ts'
import type { WorkerProcess } from './simulated-process.ts'
import { ASKING, vocabulary } from './stages.ts'
import type { World } from './world.ts'

/** Sees every request to the policy. A request for completions that are already in the log is a violation. */
export class Witness {
  world: World | undefined
  /** Indices that are committed, by group. */
  readonly #answered = new Map<string, Set<number>>()
  readonly #seen: number[] = []

  /** Checks only a worker that owns and has restored the partition: one that has lost it cannot know later answers. */
  onAsked({ group_id, first_index, count }: Asked, { process, claim, taken_up }: WorkerProcess): void {
    const { world } = this
    if (world === undefined || claim === undefined) return
    const partition = partitionOf(group_id, world.inputs.partitions)
    const owned = world.broker.owned(claim.group, claim.member).get(partition)
    if (owned === undefined || owned !== claim.epochs.get(partition) || !taken_up.has(partition)) return
    this.#readOn(world, partition)
    const answered = this.#answered.get(group_id) ?? new Set()
    const size = world.inputs.groups.find((group) => group.group_id === group_id)?.size ?? 0
    const again = answered.has(first_index) || count > size - answered.size
    if (!again) return
    world.violations.push(
      `${process.name} asked for ${count} completions of ${group_id} from ${first_index}, ` +
        `though ${[...answered].join(', ')} of ${size} are committed: expected each to be asked for until it is, and no more`,
    )
  }

  #readOn(world: World, partition: number): void {
    const { records } = world.broker.partition(completionsSampled.type, partition)
    const from = this.#seen[partition] ?? 0
    this.#seen[partition] = records.length
    for (const record of records.slice(from)) if (isAnswer(record)) this.#note(record)
  }

  #note(record: LogRecord): void {
    for (const row of (decodeEvent(record, vocabulary) as Event<typeof completionsSampled>).data) {
      const indices = this.#answered.get(row.group_id) ?? new Set()
      indices.add(row.completion_index)
      this.#answered.set(row.group_id, indices)
    }
  }
}

export const isAnswer = (record: LogRecord) => headerOf(record, 'ce_source') === factSourceOf(ASKING.name)
