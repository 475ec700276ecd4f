import type { Command } from 'commander'
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
import { type DataFolder, isKafka, openDataFolder } from './data-folder.ts'
import { globals } from './options.ts'
import { prepareLog, wiringOn } from './pipeline.ts'
import { producersOf } from './producers.ts'
import { Progress } from './progress.ts'
import { loadRecordedReward, recordedRewards } from './recorded-rewards.ts'
import {
  blobsText,
  chunksText,
  damagesOf,
  findingsOf,
  foundText,
  type Part,
  recordsText,
  skippedText,
  stageText,
  tablesText,
} from './verify-text.ts'

interface VerifyFlags {
  readonly json: boolean
  readonly rescored?: boolean
  readonly blobs?: boolean
  readonly tables?: boolean
}

export function addVerify(program: Command): void {
  program
    .command('verify')
    .description('read every record, compute every derived event again and compare; names what differs')
    .option('--tables', 'also the rows of the DuckDB tables', false)
    .option('--rescored', 'also the rows of rescore: runs the reward functions whose code lies in the log', false)
    .addHelpText(
      'after',
      '\nEvery record: it can be decoded, is registered, and its producer may emit it. Every derived event and every state\n' +
        'of a processor: what follows from the inputs, computed again. Every chunk of the embedded log: its checksum.\n' +
        'With --blobs also every blob that is named, with --tables every row of the tables. It says what it left out.\n' +
        'Exit 1: something differs.\n',
    )
    .action(async ({ rescored, tables }: { rescored: boolean; tables: boolean }, command: Command) => {
      const { blobs, ...global } = globals(command)
      const is_typed = command.parent?.getOptionValueSource('blobs') === 'cli'
      const url = blobs === true ? process.env.PLUMBLINE_BLOBS : blobs
      const place = { ...global, ...(url ? { blobs: url } : {}) }
      const folder = await openDataFolder(place, { create: false, or_read: true })
      try {
        const flags = { json: global.json, rescored, blobs: is_typed, tables }
        const passed = await verifyFolder(folder, await wiringOn(folder, global), flags)
        if (!passed) process.exitCode = 1
      } finally {
        await folder.close()
      }
    })
}

/** The result of a verification: for each part its coverage and differences, and in words what was left out. */
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
  /** Everything that was left out, in words. */
  readonly not_covered: readonly string[]
}

/** Verifies everything of a folder and prints what it found. */
export async function verifyFolder(folder: DataFolder, wiring: Topology, flags: VerifyFlags): Promise<boolean> {
  const report = await verifyParts(folder, wiring, flags)
  if (flags.json) {
    process.stdout.write(`${JSON.stringify(report)}\n`)
    return report.passed
  }
  if (report.not_covered.length > 0) process.stderr.write('verify left out:\n')
  for (const part of report.not_covered) process.stderr.write(`  ${part}\n`)
  const nothing = report.reports.every(({ rebuilt, recorded }) => rebuilt + recorded === 0)
  if (report.passed && nothing) process.stdout.write(`verify: passed, but nothing has been computed yet: ${COMPUTE}\n`)
  else process.stdout.write(`${verdictOf(report)}\n`)
  return report.passed
}

const COMPUTE = './plumbline run --until-idle'

function verdictOf({ passed, reports }: FolderReport): string {
  if (!passed) return 'verify: FAILED'
  const unverifiable = reports.filter((report) => report.unverifiable !== undefined)
  if (unverifiable.length === 0) return 'verify: passed'
  return `verify: passed as far as it can be computed again; unverifiable: ${unverifiable.map(({ processor }) => processor).join(', ')}`
}

/** Verifies everything of a folder and reports progress on standard error. */
export async function verifyParts(folder: DataFolder, wiring: Topology, flags: VerifyFlags): Promise<FolderReport> {
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
    for (const recorded of flags.rescored ? rewards : []) {
      const { reward_name } = recorded
      const reward = await loadRecordedReward(recorded)
      loaded.push(reward)
      const transform = rescoreCompletions(reward)
      const wanted = (event: Event) => (event as Event<typeof completionsRescored>).data[0]?.reward_name === reward_name
      sweeps.push({ transform, group: `rescore/${reward_name}`, name: `${transform.name} ${reward_name}`, wanted })
    }
    const telling = new Telling(flags.json)
    const found = await verifyLog(
      {
        stages: verifiable(wiring.stages),
        sweeps,
        producers: producersOf(wiring),
        is_shared: is_kafka,
        read_blobs: flags.blobs ?? false,
      },
      { log, blobs, vocabulary: catalogueOf(wiring.events), partitions: wiring.partitions, compacts: is_kafka },
      telling,
    )
    const tables = flags.tables ? await verifyTablesOf(folder, wiring, telling) : undefined
    const names = flags.rescored ? [] : rewards.map(({ reward_name }) => reward_name)
    const not_covered = [
      ...found.records.left_out.map((topic) => `topic ${topic}: of no event of this topology`),
      ...skippedText(found.records.skipped),
      ...(names.length === 0
        ? []
        : [`rescored as ${names.join(', ')}: the code lies in the log, verify --rescored runs it`]),
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
  telling: Telling,
): Promise<TablesReport | 'none'> {
  const progress = telling.begin('tables')
  const session = await openSql({ file: duckdb_file, time_limit_ms: COMPARING_MS }).catch((error: unknown) => {
    if (error instanceof NoDatabaseError) return 'none'
    if (error instanceof DatabaseDamagedError) return error
    throw error
  })
  if (session === 'none') return session
  if (session instanceof Error) {
    const report = unreadableTables(duckdb_file, session.message)
    telling.tables(report)
    return report
  }
  try {
    const vocabulary = catalogueOf(events)
    const onProgress = (rows: number) => progress.at(rows)
    const report = await verifyTables({ session, log, blobs, vocabulary, events, views, partitions, onProgress })
    telling.tables(report)
    return report
  } finally {
    await session.close()
  }
}

/** One line on standard error for each part, and a few for what differs in it. */
class Telling implements LogWatch {
  readonly #silent: boolean
  #progress: Progress | undefined

  constructor(silent: boolean) {
    this.#silent = silent
  }

  begin(part: string): Progress {
    this.#progress = new Progress(`verify ${part}`, { silent: this.#silent })
    return this.#progress
  }

  done({ text, found, unverifiable }: Part): void {
    this.#progress?.done(text)
    if (this.#silent) return
    for (const why of unverifiable ?? []) process.stderr.write(`  unverifiable: ${why}\n`)
    for (const line of foundText(found)) process.stderr.write(`${line}\n`)
  }

  records = (report: LogReport['records']) => this.done({ text: recordsText(report), found: report.found })
  stage = (report: VerifyReport) => this.done({ ...report, text: stageText(report), found: findingsOf(report) })
  tables = (report: TablesReport) => this.done({ text: tablesText(report), found: report.found })
  blobs = (report: LogReport['blobs']) => this.done({ text: blobsText(report), found: report.found })
  chunks = (report: NonNullable<LogReport['integrity']>) =>
    this.done({ text: chunksText(report), found: damagesOf(report) })
}
