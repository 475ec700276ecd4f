import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'

/**
 * A note next to the file, `<file>.owner`, about the process that answers SQL for it. It is a hint, never a lock: only
 * the answer of its socket and DuckDB's lock prove who owns the file. PIDs are reused after a restart of the machine,
 * and in other containers.
 */
export interface OwnerRecord {
  readonly pid: number
  /** The process that started it, and restarts it when it ends. */
  readonly started_by?: number
  /** The socket that it answers on. */
  readonly socket?: string
  /** The last process that ended unasked, and why. */
  readonly ended?: { readonly pid: number; readonly why: string }
}

const pathOf = (file: string) => `${file}.owner`

/** Keeps the note about the ended process. */
export function writeOwner(file: string, record: OwnerRecord): void {
  const { ended } = readOwner(file) ?? {}
  const draft = `${pathOf(file)}.${process.pid}`
  writeFileSync(draft, `${JSON.stringify({ ...(ended && { ended }), ...record })}\n`, { mode: 0o600 })
  renameSync(draft, pathOf(file))
}

/** Undefined if there is no note, or an invalid one. */
export function readOwner(file: string): OwnerRecord | undefined {
  try {
    const record = JSON.parse(readFileSync(pathOf(file), 'utf8')) as unknown
    return isRecord(record) ? record : undefined
  } catch {
    return undefined
  }
}

/** Records why a process ended, for clients whose questions it did not answer. */
export function noteEnd(file: string, ended: NonNullable<OwnerRecord['ended']>): void {
  try {
    writeOwner(file, { ...(readOwner(file) ?? { pid: ended.pid }), ended })
  } catch {
    // With a full disk, clients get no reason.
  }
}

export function removeOwner(file: string): void {
  rmSync(pathOf(file), { force: true })
}

function isRecord(record: unknown): record is OwnerRecord {
  if (typeof record !== 'object' || record === null) return false
  const { pid, socket = '', ended = { pid: 0, why: '' } } = record as Record<string, unknown>
  if (!Number.isInteger(pid) || typeof socket !== 'string' || typeof ended !== 'object' || ended === null) return false
  return typeof (ended as { why?: unknown }).why === 'string'
}
