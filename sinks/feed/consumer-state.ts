import type { Event, EventType, RowOfEvent } from '../../schemas/declare/event.ts'
import {
  checkpointSaved,
  consumerRetired,
  consumerSubscribed,
  groupsApplied,
  groupsDropped,
  groupsLeased,
  leaseEnded,
  offsetsExpired,
  rolledBack,
  runStarted,
  stepBegun,
} from '../../schemas/events/training.ts'
import type { Checkpoint, RankState, RunState, Subscription } from './consumer-parts.ts'
import { Lineages } from './lineages.ts'
import { type NumberedGroup, numbered, type OpenGroup, OpenGroups, waitingAgain } from './open-groups.ts'
import { Remembered } from './remembered.ts'
import type { StoredState } from './stored-state.ts'

/** A consumer at the time of one of its events. */
export type Standing = Pick<
  ConsumerState,
  'number' | 'subscription' | 'retired' | 'run' | 'next_sequence' | 'counts' | 'checkpoints'
>

/** Inferred: a trainer that repeats a call after a lost answer names groups that it dropped a moment ago. */
const DROPPED_REMEMBERED = 65_536
/** Inferred: an older checkpoint gets a less exact message. */
const GONE_REMEMBERED = 4_096
/** Inferred: a start that is repeated after so many others is another one. */
const ATTEMPTS_REMEMBERED = 4_096

/**
 * Everything that the feed knows of a consumer: a fold over its training events, in the order of their numbers. Only
 * `apply` changes it.
 */
export class ConsumerState {
  readonly name: string
  readonly open = new OpenGroups()
  readonly lineages = new Lineages()
  /** By partition: the offset of the first group that has not been drawn. All before it have a fate or do not match. */
  readonly drawn = new Map<number, number>()
  #number = 0
  #subscription: Subscription | undefined
  #retired: string | undefined
  #next_sequence = 0
  #last_lease = 0
  #run: RunState | undefined
  #checkpoints: readonly Checkpoint[] = []
  #broken_step: number | undefined
  #durable = 0
  #dropped = 0
  #expired = 0
  readonly #epochs = new Map<string, number>()
  readonly #runs = new Set<string>()
  readonly #saved_runs = new Set<string>()
  readonly #ranks = new Map<number, RankState>()
  readonly #dropped_lately = new Remembered<number>(DROPPED_REMEMBERED)
  readonly #gone = new Remembered<string>(GONE_REMEMBERED)
  /** Parts of a checkpoint that is not complete yet. */
  #parts: NumberedGroup[] = []
  readonly #folds: ReadonlyMap<string, (event: Event) => void>

  constructor(name: string) {
    this.name = name
    const on = <T extends EventType>(type: T, fold: (data: Event<T>['data']) => void) =>
      [type.type, (event: Event) => fold(event.data as Event<T>['data'])] as const
    this.#folds = new Map([
      on(consumerSubscribed, (data) => this.#subscribe(data)),
      on(consumerRetired, ({ reason }) => {
        this.#retired = reason
      }),
      on(runStarted, (data) => this.#start(data)),
      on(groupsLeased, (rows) => each(rows, (row) => this.#lease(row))),
      on(leaseEnded, (rows) => each(rows, (row) => this.#endLease(row))),
      on(stepBegun, (rows) => this.#begin(rows)),
      on(groupsApplied, (rows) => each(rows, (row) => this.#applied(row))),
      on(groupsDropped, (rows) => each(rows, (row) => this.#drop(row))),
      on(offsetsExpired, (data) => this.#expire(data)),
      on(checkpointSaved, (rows) => this.#save(rows)),
      on(rolledBack, (rows) => each(rows, (row) => this.#rollBack(row))),
    ])
  }

  /** Of the last event. */
  get number(): number {
    return this.#number
  }
  get subscription(): Subscription | undefined {
    return this.#subscription
  }
  /** The reason, once it has retired. */
  get retired(): string | undefined {
    return this.#retired
  }
  get next_sequence(): number {
    return this.#next_sequence
  }
  get last_lease(): number {
    return this.#last_lease
  }
  get run(): RunState | undefined {
    return this.#run
  }
  /** Those that can be resumed, of all runs, oldest first. */
  get checkpoints(): readonly Checkpoint[] {
    return this.#checkpoints
  }
  /** The earliest step of this epoch that lost a lease after it was begun. */
  get broken_step(): number | undefined {
    return this.#broken_step
  }
  get counts() {
    const { waiting, leased, applied } = this.open.counts
    return {
      numbered: waiting,
      leased,
      applied,
      durable: this.#durable,
      dropped: this.#dropped,
      expired: this.#expired,
    }
  }

  rank(rank: number): RankState {
    const step = this.#run?.step ?? 0
    return this.#ranks.get(rank) ?? { begun: step, groups: [], applied: step }
  }

  hasStarted(run: string): boolean {
    return this.#runs.has(run)
  }

  /** Whether groups are durable in checkpoints of this run, also in those that can no longer be resumed. */
  hasSaved(run: string): boolean {
    return this.#saved_runs.has(run)
  }

  /** The epoch that an attempt began, if it did and is remembered. */
  epochOf(attempt: string): number | undefined {
    return this.#epochs.get(attempt)
  }

  wasDropped(sequence: number): boolean {
    return this.#dropped_lately.has(sequence)
  }

  /** Whether there was such a checkpoint that can no longer be resumed, as far as that is remembered. */
  isGone(checkpoint: string): boolean {
    return this.#gone.has(checkpoint)
  }

  /** What others may be told of it: values that do not change when it does. */
  get standing(): Standing {
    const { number, subscription, retired, run, next_sequence, counts, checkpoints } = this
    return { number, subscription, retired, run, next_sequence, counts, checkpoints }
  }

  /** All of it; `restored` makes an equal state of it. */
  stored(): StoredState {
    const { name, number, subscription = null, retired = null, run = null, broken_step = null } = this
    return {
      ...{ name, number, subscription, retired, run, broken_step, checkpoints: this.checkpoints },
      ...{ next_sequence: this.next_sequence, last_lease: this.last_lease, durable: this.#durable },
      ...{
        dropped: this.#dropped,
        expired: this.#expired,
        epochs: [...this.#epochs],
        runs: [...this.#runs],
        saved_runs: [...this.#saved_runs],
      },
      ...{ ranks: [...this.#ranks], lineages: [...this.lineages.entries()], drawn: [...this.drawn] },
      ...{ open: [...this.open.values()], parts: [...this.#parts] },
      ...{ dropped_lately: [...this.#dropped_lately.values()], gone: [...this.#gone.values()] },
    }
  }

  static restored(stored: StoredState): ConsumerState {
    const state = new ConsumerState(stored.name)
    state.#number = stored.number
    state.#subscription = stored.subscription ?? undefined
    state.#retired = stored.retired ?? undefined
    state.#next_sequence = stored.next_sequence
    state.#last_lease = stored.last_lease
    state.#run = stored.run ?? undefined
    state.#broken_step = stored.broken_step ?? undefined
    state.#checkpoints = stored.checkpoints
    state.#durable = stored.durable
    state.#dropped = stored.dropped
    state.#expired = stored.expired
    state.#parts = [...stored.parts]
    for (const [attempt, epoch] of stored.epochs) state.#epochs.set(attempt, epoch)
    for (const run of stored.runs) state.#runs.add(run)
    for (const run of stored.saved_runs) state.#saved_runs.add(run)
    for (const [rank, of_rank] of stored.ranks) state.#ranks.set(rank, of_rank)
    for (const [lineage, fork] of stored.lineages) state.lineages.add(lineage, fork)
    for (const [partition, offset] of stored.drawn) state.drawn.set(partition, offset)
    for (const group of stored.open) state.open.set(group)
    for (const sequence of stored.dropped_lately) state.#dropped_lately.add(sequence)
    for (const checkpoint of stored.gone) state.#gone.add(checkpoint)
    return state
  }

  isNext(event: Event): boolean {
    return namesOf(event).number === this.#number + 1
  }

  /** @throws Error when the event is not the next one of this consumer: others wrote to its topics, or it is damaged */
  apply(event: Event): void {
    const { consumer, number } = namesOf(event)
    if (consumer !== this.name || number !== this.#number + 1) {
      throw new Error(
        `consumer ${this.name}: expected training event ${this.#number + 1} next, got ${number} of ${consumer} (${event.type}): a record is missing or damaged; ./plumbline verify tells where`,
      )
    }
    this.#folds.get(event.type)?.(event)
    this.#number = number
  }

  #subscribe(subscription: Subscription): void {
    this.#subscription = subscription
    for (const { partition, offset } of subscription.start) this.drawn.set(partition, offset)
  }

  #start(started: RowOfEvent<typeof runStarted>): void {
    const { run, epoch, attempt, world_size, lineage, forked_from, checkpoint, step } = started
    this.#run = { run, epoch, attempt, world_size, lineage, checkpoint, step }
    this.#broken_step = undefined
    this.#ranks.clear()
    this.#epochs.set(attempt, epoch)
    if (this.#epochs.size > ATTEMPTS_REMEMBERED) this.#epochs.delete(this.#epochs.keys().next().value as string)
    this.#runs.add(run)
    this.lineages.add(lineage, forked_from)
    if (checkpoint === null) return
    // What came after the checkpoint in this run was learned by weights that are gone.
    const at = this.#checkpoints.findIndex((one) => one.checkpoint === checkpoint)
    this.#keep(this.#checkpoints.filter((one, index) => index <= at || one.run !== run))
  }

  #lease(row: RowOfEvent<typeof groupsLeased>): void {
    const { sequence, lease, rank, request } = row
    this.#next_sequence = Math.max(this.#next_sequence, sequence + 1)
    this.#draw(row)
    if (lease === null) {
      this.open.set(waitingAgain(row))
      return
    }
    this.open.set({ ...numbered(row), state: 'leased', lease: { lease, rank } })
    this.#last_lease = Math.max(this.#last_lease, lease)
    this.#ranks.set(rank, { ...this.rank(rank), request, lease })
  }

  #endLease({ sequence, rank }: RowOfEvent<typeof leaseEnded>): void {
    const group = this.#opened(sequence)
    const { begun, applied } = this.rank(rank)
    if (group.begun_in === begun && begun > applied) {
      this.#broken_step = Math.min(this.#broken_step ?? begun, begun)
    }
    this.open.set(waitingAgain(group))
  }

  #begin(rows: readonly RowOfEvent<typeof stepBegun>[]): void {
    const [{ rank, step }] = rows as [(typeof rows)[number]]
    for (const { sequence } of rows) this.open.set({ ...this.#opened(sequence), begun_in: step })
    const before = this.rank(rank)
    const sequences = rows.map(({ sequence }) => sequence)
    // A step of many groups is several events.
    const groups = before.begun === step ? [...before.groups, ...sequences] : sequences
    this.#ranks.set(rank, { ...before, begun: step, groups })
  }

  #applied({ sequence, rank, step }: RowOfEvent<typeof groupsApplied>): void {
    const group = this.#opened(sequence)
    this.open.set({ ...group, state: 'applied', applied_in: group.applied_in ?? step })
    this.#ranks.set(rank, { ...this.rank(rank), applied: step })
  }

  #drop(row: RowOfEvent<typeof groupsDropped>): void {
    this.#dropped += 1
    this.#draw(row)
    if (row.sequence === null) return
    this.open.delete(row.sequence)
    this.#dropped_lately.add(row.sequence)
  }

  #expire({ partition, first_offset, until_offset }: RowOfEvent<typeof offsetsExpired>): void {
    this.#expired += until_offset - first_offset
    this.#draw({ partition, offset: until_offset - 1 })
  }

  #save(rows: readonly RowOfEvent<typeof checkpointSaved>[]): void {
    const [{ run, epoch, checkpoint, parent, step, weights_sha256, policy_version, groups }] = rows as [
      (typeof rows)[number],
    ]
    for (const { sequence } of rows) {
      this.#parts.push(numbered(this.#opened(sequence)))
      this.open.delete(sequence)
    }
    this.#durable += rows.length
    if (this.#parts.length < groups) return
    const lineage = this.#run?.lineage ?? ''
    const saved = { checkpoint, parent, run, epoch, step, lineage, policy_version, weights_sha256, groups: this.#parts }
    this.#parts = []
    this.#saved_runs.add(run)
    const of_run = [...this.#checkpoints.filter((one) => one.run === run), saved]
    const kept = new Set(of_run.slice(-(this.#subscription?.keep_checkpoints ?? 1)))
    this.#keep([...this.#checkpoints, saved].filter((one) => one.run !== run || kept.has(one)))
  }

  #rollBack({ was, ...row }: RowOfEvent<typeof rolledBack>): void {
    if (was === 'durable') this.#durable -= 1
    this.open.set(waitingAgain(row))
  }

  #draw({ partition, offset }: { readonly partition: number; readonly offset: number }): void {
    this.drawn.set(partition, Math.max(this.drawn.get(partition) ?? 0, offset + 1))
  }

  #keep(kept: readonly Checkpoint[]): void {
    for (const one of this.#checkpoints) if (!kept.includes(one)) this.#gone.add(one.checkpoint)
    this.#checkpoints = kept
  }

  #opened(sequence: number): OpenGroup {
    const group = this.open.get(sequence)
    if (group === undefined) throw new Error(`the consumer ${this.name} has no open group ${sequence}`)
    return group
  }
}

function each<R>(rows: readonly R[], change: (row: R) => void): void {
  for (const row of rows) change(row)
}

/** Of every training event. */
export function namesOf(event: Event): { readonly consumer: string; readonly number: number } {
  const data: unknown = event.data
  return (Array.isArray(data) ? data[0] : data) as { consumer: string; number: number }
}
