import type { Command } from 'commander'
import type { VerifyReport } from '../infra/verify/comparison.ts'
import type { LogReport } from '../infra/verify/verify-log.ts'
import { type DataFolder, openDataFolder } from '../pipeline/data-folder.ts'
import { type FolderReport, type VerifyWatch, verify } from '../pipeline/verify.ts'
import { wiringOn } from '../pipeline/wiring.ts'
import type { TablesReport } from '../sinks/duckdb/verify-tables.ts'
import type { Topology } from '../streams/topology.ts'
import { globals } from './options.ts'
import { Progress } from './progress.ts'
import {
  blobsText,
  chunksText,
  damagesOf,
  findingsOf,
  foundText,
  type Part,
  recordsText,
  stageText,
  tablesText,
} from './verify-text.ts'

interface VerifyFlags {
  readonly json: boolean
  readonly rescored?: boolean
  readonly blobs?: boolean
  readonly tables?: boolean
}

export function addVerify(command: Command): void {
  command
    .option('--tables', 'also compare the rows of the DuckDB tables', false)
    .option('--rescored', 'also compare the rows of rescore: runs the reward functions that the log contains', false)
    .addHelpText(
      'after',
      '\nChecks that every record can be decoded, is registered, and comes from a producer that may emit it; that every derived\n' +
        'event and every processor state is equal to what its inputs give when recomputed; and the checksums of the embedded\n' +
        'log. With --blobs also reads every referenced blob, with --tables compares every row. It lists what it left out.\n' +
        'Exit code 1: a difference was found.\n',
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

/** Verifies everything of a folder and prints what it found. */
export async function verifyFolder(folder: DataFolder, wiring: Topology, flags: VerifyFlags): Promise<boolean> {
  const report = await verify(folder, wiring, flags, new Telling(flags.json))
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

/** One line on standard error for each part, and a few for what differs in it. */
class Telling implements VerifyWatch {
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
