import type { MemoryBroker } from '../../../infra/log/memory/broker.ts'
import type { DataOf, Event, EventType, RowOfEvent } from '../../../schemas/declare/event.ts'
import type { Catalogue } from '../../../schemas/declare/registry.ts'
import { groupFormed } from '../../../schemas/events/rollout.ts'
import {
  checkpointSaved,
  groupsApplied,
  groupsDropped,
  groupsLeased,
  leaseEnded,
  rolledBack,
  runStarted,
  stepBegun,
  stepCompleted,
  TRAINING_EVENTS,
} from '../../../schemas/events/training.ts'
import { decodeEvent } from '../../../schemas/wire/codec.ts'
import { partitionOf } from '../../../schemas/wire/routing.ts'
import { ConsumerState, namesOf } from '../../../sinks/feed/consumer-state.ts'
import { Chain } from './chain.ts'
import { CONSUMER, TASK } from './inputs.ts'

/** What became of a group, as the log tells it. */
export interface Entry {
  readonly group_id: string
  readonly policy_version_oldest: number | null
  readonly lineage: string | null
  readonly state: 'waiting' | 'leased' | 'applied' | 'durable' | 'dropped'
  readonly sequence?: number
  readonly rank?: number
  readonly lease?: number
  /** The epoch that it was leased in. */
  readonly epoch?: number
  readonly begun_in?: number
  readonly applied_in?: number
  readonly checkpoint?: string
}

interface Rank {
  readonly begun: number
  readonly applied: number
}

interface Place {
  readonly partition: number
  readonly offset: number
}
const nameOf = ({ partition, offset }: Place) => `${partition}/${offset}`

/**
 * Reads the log after each step and holds every training event to what docs/feed.md promises. It knows nothing of how
 * the feed decides, and is compared with the feed's fold.
 */
export class Book {
  /** By place: every group that matches, at every instant in one state. */
  readonly entries = new Map<string, Entry>()
  readonly chain: Chain
  run: DataOf<typeof runStarted> | undefined
  readonly ranks = new Map<number, Rank>()
  /** As `EPOCH RANK STEP`: receipts. */
  readonly completed = new Set<string>()
  readonly begun = new Set<string>()
  readonly attempts = new Map<string, number>()
  readonly happened = new Map<string, number>()
  readonly state = new ConsumerState(CONSUMER)
  readonly #broker: MemoryBroker
  readonly #vocabulary: Catalogue
  readonly #partitions: number
  readonly #breaks: (what: string) => void
  readonly #sequences = new Set<number>()
  readonly #read = new Map<string, number>()
  readonly #folds: ReadonlyMap<string, (event: Event) => void>
  #number = 0
  #lease = 0

  constructor(options: {
    readonly broker: MemoryBroker
    readonly vocabulary: Catalogue
    readonly partitions: number
    readonly breaks: (what: string) => void
  }) {
    this.#broker = options.broker
    this.#vocabulary = options.vocabulary
    this.#partitions = options.partitions
    this.#breaks = options.breaks
    this.chain = new Chain(options.breaks)
    const on = <T extends EventType>(type: T, fold: (data: Event<T>['data']) => void) =>
      [type.type, (event: Event) => fold(event.data as Event<T>['data'])] as const
    this.#folds = new Map([
      on(runStarted, (row) => this.#start(row)),
      on(groupsLeased, (rows) => each(rows, (row) => this.#leased(row))),
      on(leaseEnded, (rows) => each(rows, (row) => this.#ended(row))),
      on(stepBegun, (rows) => this.#stepBegun(rows)),
      on(groupsApplied, (rows) => each(rows, (row) => this.#applied(row))),
      on(stepCompleted, (row) => this.#completed(row)),
      on(groupsDropped, (rows) => each(rows, (row) => this.#dropped(row))),
      on(checkpointSaved, (rows) => each(rows, (row) => this.#saved(row))),
      on(rolledBack, (rows) => each(rows, (row) => this.#back(row))),
    ])
  }

  /** Whether every group that was formed has its fate. */
  get isClosed(): boolean {
    return [...this.entries.values()].every(({ state }) => state === 'durable' || state === 'dropped')
  }

  count(state: Entry['state']): number {
    let count = 0
    for (const entry of this.entries.values()) if (entry.state === state) count++
    return count
  }

  /** Reads what was committed since. Transactions are whole, so nothing may be open after it. */
  look(): void {
    this.#lookForGroups()
    const partition = partitionOf(CONSUMER, this.#partitions)
    const found: Event[] = []
    for (const { type } of TRAINING_EVENTS) {
      for (const record of this.#newIn(type, partition)) {
        found.push(decodeEvent(record, this.#vocabulary) as Event)
      }
    }
    if (found.length === 0) return
    found.sort((one, other) => namesOf(one).number - namesOf(other).number)
    for (const event of found) this.#take(event)
    this.#expectWhole()
  }

  #lookForGroups(): void {
    for (let partition = 0; partition < this.#partitions; partition++) {
      for (const record of this.#newIn(groupFormed.type, partition)) {
        const [row] = (decodeEvent(record, this.#vocabulary) as Event<typeof groupFormed>).data
        if (row === undefined || row.task !== TASK) continue
        const { group_id, policy_version_oldest, lineage } = row
        const name = nameOf({ partition, offset: Number(record.offset) })
        this.entries.set(name, { group_id, policy_version_oldest, lineage, state: 'waiting' })
      }
    }
  }

  #newIn(topic: string, partition: number) {
    const { records } = this.#broker.partition(topic, partition)
    const name = `${topic}/${partition}`
    const from = this.#read.get(name) ?? 0
    this.#read.set(name, records.length)
    return from === records.length ? [] : records.slice(from)
  }

  #take(event: Event): void {
    const { number } = namesOf(event)
    if (number !== this.#number + 1) {
      this.#breaks(`expected training event ${this.#number + 1} next in the log, got ${number} (${event.type})`)
      return
    }
    this.#number = number
    this.happened.set(event.type, (this.happened.get(event.type) ?? 0) + 1)
    this.#folds.get(event.type)?.(event)
    try {
      this.state.apply(event)
    } catch (error) {
      this.#breaks(`the feed's fold refuses event ${number} (${event.type}): ${error}`)
    }
  }

  /** After a transaction: nothing of an earlier epoch is open, and the fold counts the same. */
  #expectWhole(): void {
    const epoch = this.run?.epoch
    for (const [name, entry] of this.entries) {
      const is_open = entry.state === 'leased' || entry.state === 'applied'
      if (is_open && entry.epoch !== epoch) {
        this.#breaks(`group ${name} is ${entry.state} by epoch ${entry.epoch}, and epoch ${epoch} has begun`)
      }
      if (entry.state === 'durable' && this.chain.isUndone(entry.checkpoint ?? '')) {
        this.#breaks(`group ${name} is durable in ${entry.checkpoint}, which the run has resumed from before`)
      }
    }
    const numbered = [...this.entries.values()].filter(
      ({ state, sequence }) => state === 'waiting' && sequence !== undefined,
    )
    const [leased, applied, durable, dropped] = (['leased', 'applied', 'durable', 'dropped'] as const).map((one) =>
      this.count(one),
    )
    const expected = JSON.stringify({ numbered: numbered.length, leased, applied, durable, dropped, expired: 0 })
    const got = JSON.stringify(this.state.counts)
    if (got !== expected)
      this.#breaks(`after event ${this.#number}: expected ${expected} groups, the fold counts ${got}`)
    this.chain.expectWhole()
  }

  #start(row: DataOf<typeof runStarted>): void {
    const before = this.run?.epoch ?? 0
    if (row.epoch !== before + 1) this.#breaks(`run_started: expected epoch ${before + 1}, got ${row.epoch}`)
    for (const [name, { state }] of this.entries) {
      if (state === 'leased') this.#breaks(`run_started: group ${name} is leased still`)
    }
    if (this.attempts.has(row.attempt)) this.#breaks(`run_started: attempt ${row.attempt} has begun an epoch before`)
    this.attempts.set(row.attempt, row.epoch)
    this.run = row
    this.ranks.clear()
    this.chain.start(row)
  }

  #leased(row: RowOfEvent<typeof groupsLeased>): void {
    const entry = this.#of('groups_leased', row, 'waiting')
    if (entry === undefined) return
    const { sequence, lease, rank, epoch } = row
    if (entry.sequence === undefined) {
      if (sequence !== this.#sequences.size) {
        this.#breaks(`groups_leased: expected number ${this.#sequences.size} for a new group, got ${sequence}`)
      }
      this.#sequences.add(sequence)
    } else if (entry.sequence !== sequence) {
      this.#breaks(`groups_leased: group ${nameOf(row)} was number ${entry.sequence}, got ${sequence}`)
    }
    if (sequence % (this.run?.world_size ?? 1) !== rank) this.#breaks(`groups_leased: ${sequence} went to rank ${rank}`)
    if (lease === null) {
      this.#set(row, { ...entry, sequence })
      return
    }
    if (lease < this.#lease) this.#breaks(`groups_leased: expected a lease after ${this.#lease}, got ${lease}`)
    this.#lease = lease
    this.#set(row, { ...entry, sequence, state: 'leased', lease, rank, epoch })
  }

  #ended(row: RowOfEvent<typeof leaseEnded>): void {
    const entry = this.#of('lease_ended', row, 'leased')
    if (entry === undefined) return
    if (entry.lease !== row.lease) this.#breaks(`lease_ended: expected lease ${entry.lease}, got ${row.lease}`)
    this.#note(`leases that ended: ${row.reason}`)
    this.#set(row, waiting(entry))
  }

  #stepBegun(rows: readonly RowOfEvent<typeof stepBegun>[]): void {
    for (const row of rows) {
      const entry = this.#of('step_begun', row, 'leased')
      if (entry === undefined) continue
      const { rank, lease, step, epoch } = row
      const { begun, applied } = this.#rank(rank)
      if (step !== begun + 1 && !(step === begun && begun > applied)) {
        this.#breaks(`step_begun: rank ${rank} had begun step ${begun} and applied ${applied}, got step ${step}`)
      }
      if (entry.lease !== lease || entry.rank !== rank) this.#breaks(`step_begun: ${nameOf(row)} is leased to another`)
      this.ranks.set(rank, { begun: step, applied })
      this.begun.add(`${epoch} ${rank} ${step}`)
      this.#set(row, { ...entry, begun_in: step })
    }
  }

  #applied(row: RowOfEvent<typeof groupsApplied>): void {
    const entry = this.#of('groups_applied', row, 'leased')
    if (entry === undefined) return
    if (entry.begun_in !== row.step || entry.rank !== row.rank) {
      this.#breaks(`groups_applied: group ${nameOf(row)} was begun in step ${entry.begun_in}, got step ${row.step}`)
    }
    this.#set(row, { ...entry, state: 'applied', applied_in: row.step })
  }

  #completed({ epoch, rank, step }: DataOf<typeof stepCompleted>): void {
    const name = `${epoch} ${rank} ${step}`
    if (this.completed.has(name)) this.#breaks(`step_completed: a second one of epoch, rank and step ${name}`)
    this.completed.add(name)
    this.ranks.set(rank, { begun: this.#rank(rank).begun, applied: step })
  }

  #dropped(row: RowOfEvent<typeof groupsDropped>): void {
    const entry = this.#of('groups_dropped', row, 'waiting', 'leased')
    if (entry === undefined) return
    if (entry.begun_in !== undefined) this.#breaks(`groups_dropped: a step was begun with group ${nameOf(row)}`)
    this.#note(`drops: ${row.reason}`)
    this.#set(row, { ...entry, state: 'dropped' })
  }

  #saved(row: RowOfEvent<typeof checkpointSaved>): void {
    const entry = this.#of('checkpoint_saved', row, 'applied')
    if (entry === undefined) return
    if ((entry.applied_in ?? 0) > row.step) this.#breaks(`checkpoint_saved: ${nameOf(row)} was applied later`)
    this.#set(row, { ...entry, state: 'durable', checkpoint: row.checkpoint })
    if (!this.chain.add(row, entry.group_id)) return
    for (const [name, { state, applied_in = 0 }] of this.entries) {
      if (state === 'applied' && applied_in <= row.step) this.#breaks(`checkpoint ${row.checkpoint} leaves ${name} out`)
    }
    for (let rank = 0; rank < row.world_size; rank++) {
      if (this.#rank(rank).applied < row.step) this.#breaks(`checkpoint ${row.checkpoint}: no receipt of rank ${rank}`)
    }
  }

  #back(row: RowOfEvent<typeof rolledBack>): void {
    const entry = this.#of('rolled_back', row, row.was)
    if (entry === undefined) return
    if (entry.sequence !== row.sequence) this.#breaks(`rolled_back: group ${nameOf(row)} has another number`)
    this.#note(`roll-backs: ${row.was}`)
    this.#set(row, waiting(entry))
  }

  #note(what: string): void {
    this.happened.set(what, (this.happened.get(what) ?? 0) + 1)
  }

  #rank(rank: number): Rank {
    const step = this.run?.step ?? 0
    return this.ranks.get(rank) ?? { begun: step, applied: step }
  }

  /** The group if it is in one of these states, and the event is of the current epoch. */
  #of(what: string, row: Place & { readonly epoch: number }, ...states: readonly Entry['state'][]): Entry | undefined {
    const entry = this.entries.get(nameOf(row))
    if (row.epoch !== this.run?.epoch) this.#breaks(`${what}: expected epoch ${this.run?.epoch}, got ${row.epoch}`)
    if (entry !== undefined && states.includes(entry.state)) return entry
    this.#breaks(
      `${what}: group ${nameOf(row)}: expected it ${states.join(' or ')}, it is ${entry?.state ?? 'none that matches'}`,
    )
    return undefined
  }

  #set(place: Place, entry: Entry): void {
    this.entries.set(nameOf(place), entry)
  }
}

const waiting = ({ group_id, policy_version_oldest, lineage, sequence }: Entry): Entry => ({
  ...{ group_id, policy_version_oldest, lineage, state: 'waiting' },
  ...(sequence === undefined ? {} : { sequence }),
})

function each<R>(rows: readonly R[], change: (row: R) => void): void {
  for (const row of rows) change(row)
}
