import { misplacedError } from '../infra/runtime/state/misplaced.ts'
import { misplacedOf } from '../infra/runtime/state/task-positions.ts'
import type { VerifyReport } from '../infra/verify/comparison.ts'
import { type LogReport, type LogWatch, verifyLog } from '../infra/verify/verify-log.ts'
import { verifiable } from '../infra/verify/verify-stage.ts'
import type { SweepToVerify } from '../infra/verify/verify-sweep.ts'
import { rescoreCompletions } from '../processors/rescore-completions/rescore-completions.ts'
import type { Event } from '../schemas/declare/event.ts'
import { catalogueOf } from '../schemas/declare/registry.ts'
import type { completionsRescored } from '../schemas/events/reward.ts'
import { DatabaseDamagedError, NoDatabaseError } from '../sinks/duckdb/database-errors.ts'
import { openSql } from '../sinks/duckdb/sql-client.ts'
import { type TablesReport, unreadableTables, verifyTables } from '../sinks/duckdb/verify-tables.ts'
import type { Topology } from '../streams/topology.ts'
import { type DataFolder, isKafka } from './data-folder.ts'
import { producersOf } from './producers.ts'
import { loadRecordedReward, recordedRewards } from './recorded-rewards.ts'
import { number } from './text/number.ts'
import { prepareLog } from './wiring.ts'

/** The result of a verification: for each part its coverage and differences, and messages about what was left out. */
export interface FolderReport {
  readonly passed: boolean
  readonly reports: readonly VerifyReport[]
  readonly records: LogReport['records']
  readonly blobs: LogReport['blobs']
  /** Null: not compared. */
  readonly tables: TablesReport | null
  readonly chunks: { readonly checksummed: number; readonly unchecksummed: number; readonly damaged: number } | null
  /** Names of rewards whose rows were not recomputed. */
  readonly left_out: readonly string[]
  /** A message for each part that was left out. */
  readonly not_covered: readonly string[]
}

/** What is compared beyond the records, the derived events and the chunks of the log. */
export interface VerifyParts {
  /** Also the rows of rescoring. This runs the reward functions whose code is in the log. */
  readonly rescored?: boolean
  /** Also the bytes of every referenced blob. */
  readonly blobs?: boolean
  /** Also the rows of the DuckDB tables. */
  readonly tables?: boolean
}

/** Called when a part begins and when it ends. */
export interface VerifyWatch extends LogWatch {
  tables(report: TablesReport): void
}

const UNWATCHED: VerifyWatch = {
  begin: () => ({ at() {} }),
  records() {},
  stage() {},
  blobs() {},
  chunks() {},
  tables() {},
}

/** Verifies a folder: recomputes and compares every derived event. Differences are reported, not thrown. */
export async function verify(
  folder: DataFolder,
  wiring: Topology,
  parts: VerifyParts,
  watch: VerifyWatch = UNWATCHED,
): Promise<FolderReport> {
  await prepareLog(folder, wiring)
  const { log, blobs } = folder
  const is_kafka = isKafka(log.address)
  for (const stage of verifiable(wiring.stages)) {
    const misplaced = await misplacedOf(log, stage.create(stage.variant), { through_journal: false })
    if (misplaced.length > 0) throw misplacedError(log, stage.name, misplaced)
  }
  const rewards = await recordedRewards(folder, { pass_unreadable: true })
  const loaded = []
  try {
    const sweeps: SweepToVerify[] = []
    for (const recorded of parts.rescored ? rewards : []) {
      const { reward_name } = recorded
      const reward = await loadRecordedReward(recorded)
      loaded.push(reward)
      const transform = rescoreCompletions(reward)
      const wanted = (event: Event) => (event as Event<typeof completionsRescored>).data[0]?.reward_name === reward_name
      sweeps.push({ transform, group: `rescore/${reward_name}`, name: `${transform.name} ${reward_name}`, wanted })
    }
    const found = await verifyLog(
      {
        stages: verifiable(wiring.stages),
        sweeps,
        producers: producersOf(wiring),
        is_shared: is_kafka,
        read_blobs: parts.blobs ?? false,
      },
      { log, blobs, vocabulary: catalogueOf(wiring.events), partitions: wiring.partitions, compacts: is_kafka },
      watch,
    )
    const tables = parts.tables ? await verifyTablesOf(folder, wiring, watch) : undefined
    const names = parts.rescored ? [] : rewards.map(({ reward_name }) => reward_name)
    const not_covered = [
      ...found.records.left_out.map((topic) => `topic ${topic}: of no event of this topology`),
      ...skippedText(found.records.skipped),
      ...(names.length === 0
        ? []
        : [`rescored as ${names.join(', ')}: verify --rescored runs their code, which the log contains`]),
      ...(found.blobs.were_read || found.blobs.named === 0
        ? []
        : [`${found.blobs.named} blobs that are named: verify --blobs reads them`]),
    ]
    not_covered.push(...(tables === undefined ? [NO_TABLES] : tables === 'none' ? [NO_FILE] : tables.left_out))
    const { integrity } = found
    const chunks = integrity && { ...integrity, damaged: integrity.damaged.length, lost: integrity.lost.length }
    const compared = typeof tables === 'object' ? [tables] : []
    const passed = [found.records, found.blobs, ...found.stages, ...compared].every(
      ({ differences }) => differences === 0,
    )
    return {
      passed: passed && (chunks?.damaged ?? 0) === 0,
      reports: found.stages,
      records: found.records,
      blobs: found.blobs,
      tables: compared[0] ?? null,
      chunks: chunks ?? null,
      left_out: names,
      not_covered,
    }
  } finally {
    for (const reward of loaded) await reward.close()
  }
}

const NO_TABLES = 'the DuckDB tables: verify --tables compares them with the log'
/** Time limit of each statement; the longest one reads the rows of `rewards`. */
const COMPARING_MS = 600_000
const NO_FILE = 'the DuckDB tables: nothing has been loaded yet'

async function verifyTablesOf(
  { log, blobs, duckdb_file }: DataFolder,
  { events, views, partitions }: Topology,
  watch: VerifyWatch,
): Promise<TablesReport | 'none'> {
  const progress = watch.begin('tables')
  const session = await openSql({ file: duckdb_file, time_limit_ms: COMPARING_MS }).catch((error: unknown) => {
    if (error instanceof NoDatabaseError) return 'none'
    if (error instanceof DatabaseDamagedError) return error
    throw error
  })
  if (session === 'none') return session
  if (session instanceof Error) {
    const report = unreadableTables(duckdb_file, session.message)
    watch.tables(report)
    return report
  }
  try {
    const vocabulary = catalogueOf(events)
    const onProgress = (rows: number) => progress.at(rows)
    const report = await verifyTables({ session, log, blobs, vocabulary, events, views, partitions, onProgress })
    watch.tables(report)
    return report
  } finally {
    await session.close()
  }
}

/** Names of skipped records that are listed; the report has all of them. */
const MOST_SHOWN = 5

function skippedText(skipped: readonly string[]): string[] {
  if (skipped.length === 0) return []
  const more = skipped.length > MOST_SHOWN ? `, … and ${number(skipped.length - MOST_SHOWN)} more, see --json` : ''
  return [`skipped by an operator: ${skipped.slice(0, MOST_SHOWN).join(', ')}${more}`]
}
