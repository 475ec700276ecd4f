import { randomUUID } from 'node:crypto'
import { accessSync, constants, existsSync } from 'node:fs'
import { cp, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join, relative, resolve } from 'node:path'
import { flushPath } from '../infra/flush-path.ts'
import { makeFolder } from '../infra/make-folder.ts'
import { openSql } from '../sinks/duckdb/sql-client.ts'
import { duckdbFile, exportFolder } from './data-folder.ts'
import { UsageError } from './usage-error.ts'

export interface ExportOptions {
  readonly dir: string
  /** A view, or a table by its quoted or plain name. */
  readonly table: string
  /** Columns whose values become folders. */
  readonly by: readonly string[]
  /** Replaces an earlier export; a folder that holds anything else is refused all the same. */
  readonly overwrite: boolean
  readonly time_limit_ms: number
  /** Receives messages about what delays the export. */
  readonly report: (message: string) => void
}

export interface Exported {
  readonly rows: number
  readonly files: number
  readonly dir: string
}

/**
 * Writes a table of a data folder as Parquet. The folder is written under another name, flushed and renamed, so no
 * reader sees half of it.
 *
 * @throws UsageError when that place has something else
 */
export async function exportParquet(data: string, options: ExportOptions): Promise<Exported> {
  const { table, by, overwrite, time_limit_ms, report } = options
  const target = resolve(options.dir)
  if (!overwrite && existsSync(target) && !(await isEmptyFolder(target))) {
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
  const export_dir = exportFolderFor(resolve(data), target)
  const session = await openSql({ file: duckdbFile(resolve(data)), export_dir, time_limit_ms, report })
  try {
    const { rows, folder } = await session.exportParquet({ table, by })
    const files = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.parquet')).length
    await moveIntoPlace(folder, target)
    return { rows, files, dir: target }
  } finally {
    await session.close()
    if (export_dir !== exportFolder(resolve(data))) await rm(export_dir, { recursive: true, force: true })
  }
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
  await flushPath(dirname(target))
  if (replaced) await rm(before, { recursive: true, force: true })
}

async function flush(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true })) await flushPath(join(folder, entry))
  await flushPath(folder)
}
