import { BrokerError } from '../infra/kafka-broker/broker-error.ts'
import { DatabaseBusyError } from '../sinks/duckdb/database.ts'
import { RecordingError } from '../sources/recorded-completions.ts'
import { UsageError } from './usage-error.ts'

/**
 * Says on standard error what went wrong and what to do, without a stack unless asked for.
 *
 * @returns the exit code: 2 for what was typed, 1 for everything else
 */
export function reportFailure(error: unknown, options: { readonly debug: boolean; readonly json: boolean }): 1 | 2 {
  const usage = error instanceof UsageError || error instanceof RecordingError
  const remedy = remedyOf(error)
  const message = refusalOf(error)?.why ?? (error instanceof Error ? error.message : String(error))
  if (options.json) {
    const name = error instanceof Error ? error.name : 'Error'
    process.stderr.write(`${JSON.stringify({ error: name, message, ...(remedy === undefined ? {} : { remedy }) })}\n`)
  } else {
    process.stderr.write(`plumbline: ${message}\n`)
    if (remedy !== undefined) process.stderr.write(`  ${remedy}\n`)
  }
  if (options.debug && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`)
  return usage ? 2 : 1
}

/** What to type instead, where the error itself cannot know it. */
function remedyOf(error: unknown): string | undefined {
  if (error instanceof UsageError || error instanceof BrokerError) return error.remedy
  if (error instanceof RecordingError)
    return 'a line is e.g. {"group_id": "…", "completion_index": 0, "text": "<answer>120</answer>"}; nothing was brought in'
  if (error instanceof DatabaseBusyError)
    return 'wait for that process, or continue or end it when it is stopped; a second run can compute without loading: run --no-sink'
  return refusalOf(error)?.remedy
}

/** What the operating system refuses now and then, in words. */
const SYSTEM: Readonly<Record<string, { readonly why: string; readonly remedy: string }>> = {
  ENOSPC: { why: 'no space is left on the disk', remedy: 'free some and run it again' },
  EDQUOT: { why: 'the disk quota is used up', remedy: 'free some space and run it again' },
  EACCES: { why: 'not permitted', remedy: 'name another place, or get the right to write there' },
  EPERM: { why: 'not permitted', remedy: 'name another place, or get the right to write there' },
  EROFS: { why: 'the disk is read-only', remedy: 'name another place' },
  ENOENT: { why: 'there is no such file or folder', remedy: 'look at the path, or make the folder first' },
  ENOTDIR: { why: 'a file is where a folder should be', remedy: 'name another place, or move the file' },
  EEXIST: { why: 'something else is there already', remedy: 'name another place, or move what is there' },
  EISDIR: { why: 'a folder is where a file should be', remedy: 'name another place' },
  EMFILE: { why: 'this process may open no more files', remedy: 'raise the limit: ulimit -n 4096' },
}

/** Of errors that name a file: those of sockets say their address, which no word here could. */
function refusalOf(error: unknown): { readonly why: string; readonly remedy: string } | undefined {
  if (!(error instanceof Error)) return undefined
  const { code, path, syscall } = error as NodeJS.ErrnoException
  const known = code === undefined || path === undefined ? undefined : SYSTEM[code]
  return known && { ...known, why: `${path}: ${known.why} (${code} at ${syscall})` }
}
