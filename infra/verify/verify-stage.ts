import { inputTopics, type Processor, type Stage } from '../../processors/processor.ts'
import { type Damage, type Log, RecordDamagedError, TopicReplacedError } from '../log/port/log.ts'
import { retryOf } from '../retry.ts'
import type { Executed } from '../runtime/execute/executed.ts'
import { execute } from '../runtime/execute/execution.ts'
import { ForeignRecordError } from '../runtime/internal/foreign-record.ts'
import { topologyIn } from '../runtime/internal/internal-records.ts'
import { changelogTopic, journalTopic, TOPOLOGY_TOPIC } from '../runtime/internal/internal-topics.ts'
import { CauseExpiredError, resetEnds } from '../runtime/internal/journal-reader.ts'
import { readEntries } from '../runtime/internal/read-entries.ts'
import { type RerunOptions, reachOf, rerun, UnreadableNowError } from '../runtime/state/rerun.ts'
import { tasksOf } from '../runtime/state/topics.ts'
import { Comparison, type VerifyReport } from './comparison.ts'
import { Findings } from './difference.ts'
import { NamedBlobs } from './named-blobs.ts'
import { damagedPlace, placeOf } from './places.ts'
import { checkStates, type StatesReport } from './states.ts'

export interface VerifyOptions extends RerunOptions {
  /** Collects the referenced blobs and, if asked to, reads them (default: reads none). */
  readonly named?: NamedBlobs
  readonly onProgress?: (rebuilt: number) => void
  /** The log compacts changelogs: it may have dropped all but the last record of each key. */
  readonly compacts?: boolean
  /** Ranges that a repair could not recover: some records that a journal counts are missing. */
  readonly lost?: readonly Damage[]
}

export interface StageReport extends VerifyReport {
  readonly states: StatesReport
}

/**
 * Recomputes every derived event of a stage in journal order and compares it by `ce_id` with the log, and the states
 * with changelog and snapshots. Outputs of inputs that the stage has not read are not expected; what a live worker
 * appends meanwhile is not checked. A partition whose inputs retention removed is reported as unverifiable. An input
 * that cannot be read is a difference, and the rest of its partition is not verified.
 */
export async function verifyStage(stage: Stage, options: VerifyOptions): Promise<StageReport> {
  const verification = await StageVerification.begin(stage, options)
  await verification.comparison.read()
  return await verification.finish(options.onProgress)
}

/** In three steps, so that one pass between `begin` and `finish` can read the events of several stages. */
export class StageVerification {
  readonly comparison: Comparison
  readonly #stage: Stage
  readonly #processor: Processor
  readonly #options: VerifyOptions & { readonly named: NamedBlobs }
  readonly #ends: readonly TaskEnds[]

  private constructor(
    stage: Stage,
    processor: Processor,
    comparison: Comparison,
    options: VerifyOptions & { readonly named: NamedBlobs },
    ends: readonly TaskEnds[],
  ) {
    this.#stage = stage
    this.#processor = processor
    this.comparison = comparison
    this.#options = options
    this.#ends = ends
  }

  get name(): string {
    return this.#stage.name
  }

  static async begin(stage: Stage, options: VerifyOptions): Promise<StageVerification> {
    const processor = stage.create(stage.variant)
    // This order is safe with a live worker: all outputs of journalled inputs are read after the journal's end, and an
    // output without a journal entry is unexpected only if it was there before the journal's end was read.
    const all = { ...options, named: options.named ?? new NamedBlobs(options.blobs, { read: false }) }
    const from = await resetEnds(all.log, stage.name)
    const comparison = await Comparison.begin(processor, { ...all, from })
    for (const lost of all.lost ?? []) comparison.lost(lost)
    return new StageVerification(stage, processor, comparison, all, await endsTogether(processor, all))
  }

  async finish(onProgress?: (rebuilt: number) => void): Promise<StageReport> {
    const states = { keys: 0, older: 0 }
    for (const [partition, ends] of this.#ends.entries()) {
      const found = await this.#task(partition, ends, onProgress)
      states.keys += found.keys
      states.older += found.older
    }
    return { ...this.comparison.report(), states }
  }

  async #task(partition: number, ends: TaskEnds, onProgress?: (rebuilt: number) => void): Promise<StatesReport> {
    const lost = this.#lostOf(partition)
    if (lost !== undefined) {
      this.comparison.leaveOut(
        `cause lost: ${damagedPlace(lost)}, before a repair, and the journal counts from the first record`,
      )
      return { keys: 0, older: 0 }
    }
    try {
      const states = await this.#rerun(partition, ends, async (executed) => {
        for (const failure of executed.failures) this.comparison.fail(failure)
        for (const output of executed.outputs) await this.comparison.compare(output)
        onProgress?.(this.comparison.rebuilt)
      })
      return await this.#checkStates(partition, ends, states)
    } catch (error) {
      this.#leave(partition, error)
      return { keys: 0, older: 0 }
    }
  }

  #lostOf(partition: number): Damage | undefined {
    const { name } = this.#processor
    const topics = [...inputTopics(this.#processor), journalTopic(name), changelogTopic(name)]
    return this.#options.lost?.find((lost) => lost.partition === partition && topics.includes(lost.topic))
  }

  /** The processors whose states are in the changelog, each with its recomputed states. */
  async #rerun(partition: number, ends: TaskEnds, take: (executed: Executed) => Promise<void>): Promise<Rebuilt[]> {
    const { name, create } = this.#stage
    const execution = execute(this.#processor, reachOf(this.#options))
    if (this.#processor.produces === 'facts') return [{ processor: this.#processor, states: undefined }]
    let effect: Processor | undefined
    const made = (variant: readonly string[]) => {
      const processor = create(variant)
      if (processor.produces === 'facts') effect = processor
      return processor
    }
    for await (const executed of rerun(execution, name, partition, made, this.#options, ends.journal))
      await take(executed)
    // A variant of the same name may have run as an effect at some time.
    if (this.#processor.shape === 'transform' && effect !== undefined) return [{ processor: effect, states: undefined }]
    return [{ processor: this.#processor, states: execution.states() }]
  }

  /** Checks again while the ends move: a broker completes a transaction one partition at a time. */
  async #checkStates(partition: number, ends: TaskEnds, rebuilt: readonly Rebuilt[]): Promise<StatesReport> {
    for (let looks = 1; ; looks++) {
      const found = new Findings(this.#stage.name)
      const report = { keys: 0, older: 0 }
      for (const { processor, states } of rebuilt) {
        const may_be_older = (this.#options.compacts ?? false) && (await wasUpgraded(processor, this.#options.log))
        const to_check = { processor, partition, until: ends.changelog, rebuilt: states, may_be_older }
        const { keys, older } = await checkStates(to_check, this.#options, found)
        report.keys += keys
        report.older += older
      }
      const now = found.count === 0 ? ends : (await endsTogether(this.#processor, this.#options))[partition]
      const has_moved = now !== undefined && (now.journal !== ends.journal || now.changelog !== ends.changelog)
      if (!has_moved || looks >= MOST_STATE_LOOKS) {
        this.comparison.findings.addAll(found)
        return report
      }
      ends = now
      rebuilt = await this.#rerun(partition, ends, async () => {})
    }
  }

  /** @throws the error when a retry may fix it, or when a topic was replaced: then nothing can be compared. */
  #leave(partition: number, error: unknown): void {
    if (!(error instanceof Error) || retryOf(error) === 'later' || error instanceof TopicReplacedError) throw error
    if (error instanceof CauseExpiredError) {
      this.comparison.leaveOut(error.message)
      return
    }
    const where =
      error instanceof RecordDamagedError
        ? damagedPlace(error.damage)
        : error instanceof UnreadableNowError || error instanceof ForeignRecordError
          ? placeOf(error.record)
          : `${journalTopic(this.#stage.name)} partition ${partition}`
    this.comparison.findings.add(error instanceof RecordDamagedError ? 'damaged' : 'unreadable', where, error.message)
    this.comparison.leaveOut(`${this.#stage.name} partition ${partition} from there on: what it read cannot be read`)
  }
}

/** Where the journal and the changelog of a task ended, read with no commit in between. */
interface TaskEnds {
  readonly journal: bigint
  readonly changelog: bigint
}

const MOST_LOOKS = 1_000
const MOST_STATE_LOOKS = 4

interface Rebuilt {
  readonly processor: Processor
  /** Undefined for an effect, whose results are facts. */
  readonly states: readonly (readonly [string, unknown])[] | undefined
}

async function endsTogether(processor: Processor, { log, partitions }: RerunOptions): Promise<TaskEnds[]> {
  const tasks = tasksOf(processor, partitions)
  const look = async () => ({
    journal: await log.endOffsets(journalTopic(processor.name)),
    changelog: await log.endOffsets(changelogTopic(processor.name)),
  })
  let before = await look()
  for (let looks = 1; ; looks++) {
    const now = await look()
    if (String([now.journal, now.changelog]) === String([before.journal, before.changelog]) || looks >= MOST_LOOKS) {
      return Array.from({ length: tasks }, (_, partition) => ({
        journal: now.journal[partition] ?? 0n,
        changelog: now.changelog[partition] ?? 0n,
      }))
    }
    before = now
  }
}

/** Whether the log was ever run with an older state version of this processor. */
async function wasUpgraded({ name, ...processor }: Processor, log: Log): Promise<boolean> {
  if (processor.shape === 'transform') return false
  for await (const { entry } of readEntries(log, TOPOLOGY_TOPIC, 0, topologyIn)) {
    const known = entry.processors.find((one) => one.name === name)
    if (known !== undefined && known.state_version > 0 && known.state_version < processor.state.version) return true
  }
  return false
}

/** The stages whose outputs are derived. An effect records facts, which are not recomputed. */
export function verifiable(stages: readonly Stage[]): Stage[] {
  return stages.filter((stage) => stage.create(stage.variant).produces === 'derived')
}
