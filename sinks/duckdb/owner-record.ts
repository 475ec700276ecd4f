import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'

/**
 * Says beside the file which process owns it and where that process answers SQL: `<file>.owner`. A hint, never a
 * lock: the lock is DuckDB's own on the file, and a record that outlived its process is recognised by its pid.
 */
export interface OwnerRecord {
  readonly pid: number
  /** Where the owner answers, when it does. */
  readonly socket?: string
}

const pathOf = (file: string) => `${file}.owner`

export function writeOwner(file: string, record: OwnerRecord): void {
  const draft = `${pathOf(file)}.${process.pid}`
  writeFileSync(draft, `${JSON.stringify(record)}\n`, { mode: 0o600 })
  renameSync(draft, pathOf(file))
}

/** The record of a process that is alive. */
export function readOwner(file: string): OwnerRecord | undefined {
  let record: OwnerRecord
  try {
    record = JSON.parse(readFileSync(pathOf(file), 'utf8')) as OwnerRecord
  } catch {
    return undefined
  }
  return Number.isInteger(record.pid) && isAlive(record.pid) ? record : undefined
}

export function removeOwner(file: string): void {
  rmSync(pathOf(file), { force: true })
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === 'EPERM'
  }
}
