import { printable } from '../pipeline/text/terminal-text.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import { DatabaseBusyError } from '../sinks/duckdb/database-errors.ts'
import { FileError } from '../sources/plain-file.ts'
import { SourceFailedError } from '../sources/run-source.ts'

/**
 * Reports on standard error what went wrong and what to do, without a stack unless asked for.
 *
 * @returns the exit code: 2 for a UsageError or FileError, 1 for everything else
 */
export function reportFailure(error: unknown, options: { readonly debug: boolean; readonly json: boolean }): 1 | 2 {
  const cause = error instanceof SourceFailedError ? error.cause : error
  const usage = cause instanceof UsageError || cause instanceof FileError
  const remedy = brief(remedyOf(cause))
  const message = brief(refusalOf(error)?.why ?? (error instanceof Error ? error.message : String(error)))
  if (options.json) {
    const name = error instanceof Error ? error.name : 'Error'
    process.stderr.write(`${JSON.stringify({ error: name, message, ...(remedy === undefined ? {} : { remedy }) })}\n`)
  } else {
    process.stderr.write(printable(`plumbline: ${message}\n`))
    if (remedy !== undefined) process.stderr.write(printable(`  ${remedy}\n`))
  }
  if (options.debug && error instanceof Error) process.stderr.write(printable(`${error.stack ?? ''}\n`))
  return usage ? 2 : 1
}

/** A message can quote an argument as long as the command line allows, so its middle is cut out. */
function brief<T extends string | undefined>(text: T): T | string {
  if (text === undefined || text.length <= 8_000) return text
  return `${text.slice(0, 5_000)} … (${text.length} characters) … ${text.slice(-2_000)}`
}

/** The error's own remedy, or one for errors that cannot know theirs. */
function remedyOf(error: unknown): string | undefined {
  const own = (error as { readonly remedy?: unknown } | null)?.remedy
  if (typeof own === 'string') return own
  if (error instanceof DatabaseBusyError)
    return 'wait for that process, or continue or end it when it is stopped; a second run can compute without loading: run --no-sink'
  return refusalOf(error)?.remedy
}

/** Common errors of the operating system, in words. */
const SYSTEM: Readonly<Record<string, { readonly why: string; readonly remedy: string }>> = {
  ENOSPC: { why: 'no space is left on the disk', remedy: 'free some and run it again' },
  EDQUOT: { why: 'the disk quota is used up', remedy: 'free some space and run it again' },
  EACCES: { why: 'not permitted', remedy: 'name another place, or get the right to write there' },
  EPERM: { why: 'not permitted', remedy: 'name another place, or get the right to write there' },
  EROFS: { why: 'the disk is read-only', remedy: 'name another place' },
  ENOENT: { why: 'there is no such file or folder', remedy: 'look at the path, or make the folder first' },
  ENOTDIR: { why: 'a file is where a folder should be', remedy: 'name another place, or move the file' },
  EEXIST: { why: 'something else already exists there', remedy: 'name another place, or move what is there' },
  EISDIR: { why: 'a folder is where a file should be', remedy: 'name another place' },
  EMFILE: { why: 'this process may open no more files', remedy: 'raise the limit: ulimit -n 4096' },
}

/** Only for errors that name a file: messages of socket errors already contain the address. */
function refusalOf(error: unknown): { readonly why: string; readonly remedy: string } | undefined {
  if (!(error instanceof Error)) return undefined
  const { code, path, syscall } = error as NodeJS.ErrnoException
  const known = code === undefined || path === undefined ? undefined : SYSTEM[code]
  return known && { ...known, why: `${path}: ${known.why} (${code} at ${syscall})` }
}
