import { randomUUID } from 'node:crypto'
import { accessSync, constants, existsSync } from 'node:fs'
import { cp, open, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join, relative, resolve } from 'node:path'
import type { Command } from 'commander'
import { makeFolder } from '../infra/make-folder.ts'
import { openSql } from '../sinks/duckdb/sql-client.ts'
import { duckdbFile, exportFolder, openedBefore } from './data-folder.ts'
import { globals, wholeNumber } from './options.ts'
import { number, Progress } from './progress.ts'
import { UsageError } from './usage-error.ts'

interface ExportOptions {
  table: string
  by: string[]
  overwrite: boolean
  timeout: number
}

const columnsOf = (text: string) =>
  text
    .split(',')
    .map((column) => column.trim())
    .filter((column) => column !== '')

export function addExport(program: Command): void {
  program
    .command('export')
    .description('hand a table to other programs')
    .command('parquet <dir>')
    .description('a table or view as Parquet, in folders by the values of columns; all of it appears at once')
    .option('--table <name>', 'a view, or a table such as tower.completions_scored', 'rewards')
    .option('--by <columns>', 'columns whose values become folders, e.g. dataset,task', columnsOf, [])
    .option('--overwrite', 'replace what lies in the folder', false)
    .option('--timeout <seconds>', 'give up after', wholeNumber('timeout', 1, 3_600), 600)
    .addHelpText(
      'after',
      '\nWhile `run` goes on, its process writes; else this one does. The folder is written elsewhere, flushed to disk and\n' +
        'renamed: no reader sees half of it. (With --overwrite, for a moment it is not there.)\n' +
        '\nExample:\n  ./plumbline export parquet out/rewards --by dataset,task\n' +
        "  python -c \"import pyarrow.dataset as d; print(d.dataset('out/rewards', partitioning='hive').to_table())\"\n",
    )
    .action(async (dir: string, options: ExportOptions, command: Command) => {
      const global = globals(command)
      openedBefore(global)
      const target = resolve(dir)
      if (!options.overwrite && existsSync(target) && !(await isEmptyFolder(target))) {
        throw new UsageError(`${target} is there already`, 'name another folder, or add --overwrite')
      }
      const foreign = await otherThanExport(target)
      if (foreign !== undefined) {
        throw new UsageError(
          `${target} is no earlier export: it holds ${foreign}`,
          'name another folder; --overwrite replaces folders that hold Parquet files and nothing else',
        )
      }
      // Fail before the query runs, not after it.
      makeFolder(dirname(target))
      accessSync(dirname(target), constants.W_OK)
      const progress = new Progress(`export ${options.table}`, { silent: global.json })
      const export_dir = exportFolderFor(resolve(global.data), target)
      const session = await openSql({
        file: duckdbFile(resolve(global.data)),
        export_dir,
        time_limit_ms: options.timeout * 1_000,
        report: (message) => process.stderr.write(`plumbline: ${message}\n`),
      })
      try {
        const { rows, folder } = await session.exportParquet({ table: options.table, by: options.by })
        const files = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.parquet')).length
        await moveIntoPlace(folder, target)
        progress.done(`${number(rows)} rows in ${number(files)} files in ${target}`)
        if (global.json) process.stdout.write(`${JSON.stringify({ rows, files, dir: target })}\n`)
      } finally {
        await session.close()
        if (export_dir !== exportFolder(resolve(global.data))) await rm(export_dir, { recursive: true, force: true })
      }
    })
}

/** In the data folder, where a running owner can write; next to the target if the data folder is read-only. */
function exportFolderFor(data: string, target: string): string {
  try {
    accessSync(data, constants.W_OK)
    return exportFolder(data)
  } catch {
    return join(dirname(target), `.${randomUUID()}`)
  }
}

async function isEmptyFolder(path: string): Promise<boolean> {
  return (await readdir(path).catch(() => ['a file'])).length === 0
}

/** The first entry of a folder that no export wrote; undefined if there is none. */
async function otherThanExport(target: string): Promise<string | undefined> {
  if (!existsSync(target)) return undefined
  const entries = await readdir(target, { recursive: true, withFileTypes: true }).catch(() => undefined)
  if (entries === undefined) return 'a file in its place'
  const foreign = entries.find((entry) => !(entry.isDirectory() || (entry.isFile() && entry.name.endsWith('.parquet'))))
  return foreign === undefined ? undefined : join(relative(target, foreign.parentPath), foreign.name)
}

/** A reader never sees a partial folder: it sees the old one, the new one, or none between the two renames. */
async function moveIntoPlace(folder: string, target: string): Promise<void> {
  const whole = join(dirname(target), `.${randomUUID()}`)
  try {
    await rename(folder, whole)
  } catch (error) {
    // The folder is on another disk, or another user's run wrote it. That run removes its copy later.
    if (!['EXDEV', 'EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
    await cp(folder, whole, { recursive: true })
    await rm(folder, { recursive: true, force: true }).catch(() => {})
  }
  await flush(whole)
  const before = join(dirname(target), `.${randomUUID()}`)
  const replaced = existsSync(target)
  if (replaced) await rename(target, before)
  try {
    await rename(whole, target)
  } catch (error) {
    if (replaced) await rename(before, target)
    throw error
  }
  await flushOne(dirname(target))
  if (replaced) await rm(before, { recursive: true, force: true })
}

async function flush(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true })) await flushOne(join(folder, entry))
  await flushOne(folder)
}

async function flushOne(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
