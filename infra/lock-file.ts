import { DatabaseSync } from 'node:sqlite'

const BUSY = 5

/**
 * A lock between processes: a transaction on an empty SQLite file. The kernel releases it when its owner dies, which a
 * file containing a process id could not offer. The SQLite journal stays in memory, because on disk it would need
 * space, and a full disk must not prevent locking.
 */
export class LockFile {
  readonly #database: DatabaseSync

  /** @param wait_ms how long to wait for a lock */
  constructor(file: string, wait_ms: number) {
    this.#database = new DatabaseSync(file, { timeout: wait_ms })
  }

  /** Takes an exclusive lock until `close`. @returns false when others hold it */
  takeAlone(): boolean {
    return this.#begin('BEGIN EXCLUSIVE')
  }

  /** Takes a shared lock until `close`. @returns false when another holds it exclusively */
  takeShared(): boolean {
    return this.#begin('BEGIN; SELECT count(*) FROM sqlite_schema')
  }

  close(): void {
    this.#database.close()
  }

  #begin(statements: string): boolean {
    try {
      // This statement reads the file too, so it is refused while another process holds an exclusive lock.
      this.#database.exec('PRAGMA journal_mode = MEMORY')
      this.#database.exec(statements)
      return true
    } catch (error) {
      if ((error as { errcode?: number }).errcode === BUSY) return false
      throw error
    }
  }
}
