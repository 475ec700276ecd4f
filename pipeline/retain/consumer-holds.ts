import { headerOf, readRange } from '../../infra/runtime/internal/json-records.ts'
import type { EventType } from '../../schemas/declare/event.ts'
import { groupFormed } from '../../schemas/events/rollout.ts'
import { ConsumerState, namesOf } from '../../sinks/feed/consumer-state.ts'
import { consumersIn, eventsOf, type TrainingLog, type Transport } from '../../sinks/feed/history.ts'
import { lastSnapshot } from '../../sinks/feed/snapshots.ts'
import type { Hold } from './holds.ts'

/** How `--past` names a training consumer. */
export const consumerName = (consumer: string) => `consumer/${consumer}`

/**
 * What each consumer that has not retired needs of the formed groups. A state that is older than the last event needs
 * at least as much: a consumer only moves on.
 */
export async function consumerHolds(options: TrainingLog, report: (message: string) => void): Promise<Hold[]> {
  const topic = (await options.log.topics([groupFormed.type])).find(({ name }) => name === groupFormed.type)
  if (topic === undefined) return []
  const holds: Hold[] = []
  for (const [consumer, transport] of await consumersIn(options)) {
    const state = await stateOf(options, consumer, report)
    // Offsets of another topic name no groups of this one.
    if (state.retired !== undefined || state.subscription?.topic_id !== topic.id) continue
    holds.push({
      name: consumerName(consumer),
      why: whyOf(state, transport),
      from: new Map([[groupFormed.type, neededFrom(state, topic.partitions).map(BigInt)]]),
    })
  }
  return holds
}

async function stateOf(
  options: TrainingLog,
  consumer: string,
  report: (message: string) => void,
): Promise<ConsumerState> {
  const snapshot = await lastSnapshot(options, consumer, report)
  const state = snapshot === undefined ? new ConsumerState(consumer) : ConsumerState.restored(snapshot.stored)
  for await (const event of eventsOf(options, consumer, state.number, new Map(snapshot?.positions))) {
    // An event of another topic before it is not visible yet, or cannot be read.
    if (namesOf(event).number !== state.number + 1) break
    state.apply(event)
  }
  return state
}

/** By partition, the first group that waits, is in use, would be rolled back by a resume, or was not looked at. */
function neededFrom(state: ConsumerState, partitions: number): number[] {
  const { open, parts, drawn } = state.stored()
  const first = Array.from({ length: partitions }, () => 0)
  for (const [partition, next] of drawn) first[partition] = next
  for (const { partition, offset } of [...open, ...parts, ...rolledBackBy(state).flatMap(({ groups }) => groups)]) {
    first[partition] = Math.min(first[partition] ?? 0, offset)
  }
  return first
}

/** A resume keeps the groups of its own checkpoint: those of the oldest one of a run are never rolled back. */
function rolledBackBy({ checkpoints }: ConsumerState) {
  const oldest = new Set<string>()
  return checkpoints.filter(({ run }) => {
    const is_later = oldest.has(run)
    oldest.add(run)
    return is_later
  })
}

function whyOf(state: ConsumerState, transport: Transport): string {
  const { name, checkpoints, counts } = state
  const [oldest] = checkpoints
  const resumable = oldest === undefined ? '' : `, and can resume from ${oldest.checkpoint} (run ${oldest.run})`
  const retire = transport === 'http' ? `retire it: DELETE /v1/consumers/${name}` : `--past ${consumerName(name)}`
  return `the consumer ${name} has ${counts.numbered + counts.leased + counts.applied} open groups and those that it has not looked at${resumable}; if it trains no more, ${retire}`
}

/** The groups that consumers need, and the events that these follow from. */
export class NeededEvents {
  readonly #groups = new Set<string>()
  readonly #ids = new Set<string>()

  get size(): number {
    return this.#groups.size + this.#ids.size
  }

  /** Whether a group that a consumer needs follows from this record. */
  has({ key: field }: EventType, record: { readonly key: string | null; readonly headers: Headers }): boolean {
    if (field === 'group_id' && record.key !== null && this.#groups.has(record.key)) return true
    return this.#ids.has(headerOf(record as Parameters<typeof headerOf>[0], 'ce_id') ?? '')
  }

  /**
   * Reads the groups from where the first consumer needs them, and back along the causes of each event.
   *
   * @param types causes before effects
   */
  static async read({ log }: TrainingLog, types: readonly EventType[], holds: readonly Hold[]): Promise<NeededEvents> {
    const needed = new NeededEvents()
    const firsts = holds.flatMap(({ from }) => [from.get(groupFormed.type) ?? []])
    if (firsts.length === 0) return needed
    for (const partition of (await log.endOffsets(groupFormed.type)).keys()) {
      const from = leastOf(firsts.map((offsets) => offsets[partition] ?? 0n))
      for await (const record of readRange(log, groupFormed.type, partition, from)) needed.#add(record, record.key)
    }
    if (needed.size === 0) return needed
    for (const type of types.toReversed()) {
      for (const partition of (await log.endOffsets(type.type)).keys()) {
        for await (const record of readRange(log, type.type, partition, 0n)) {
          if (needed.has(type, record)) needed.#add(record, null)
        }
      }
    }
    return needed
  }

  #add(record: Parameters<typeof headerOf>[0], group: string | null): void {
    if (group !== null) this.#groups.add(group)
    for (const id of (headerOf(record, 'ce_causationid') ?? '').split(',')) if (id !== '') this.#ids.add(id)
  }
}

const leastOf = (offsets: readonly bigint[]) => offsets.toSorted((one, other) => (one < other ? -1 : 1))[0] ?? 0n

type Headers = Parameters<typeof headerOf>[0]['headers']
