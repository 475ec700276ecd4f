import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { LogBusyError } from '../port/log.ts'
import { mappedAt } from './lock-word.ts'
import { PageFile } from './page-file.ts'

/**
 * Corrects the number of the last transaction in LMDB's lock file.
 *
 * A writer takes the number of its predecessor from the lock file, and its snapshot from the meta page of that number.
 * Each process that opens the folder stores there what it read from the meta pages shortly before, without the writer
 * lock (mdb.c of lmdb-js 3.5.6, `mdb_env_open2`). A transaction committed in between is forgotten: the next writer
 * overwrites it, or finds a page newer than itself and fails (MDB_PROBLEM) or crashes.
 *
 * So every write transaction first compares its own number with the meta pages, which only change under the writer
 * lock, and opening the folder ends with the same comparison. The lock file is mapped into this process, and is written
 * through /proc/self/mem: opening and closing the file itself would drop the POSIX locks that show LMDB that this
 * process is alive. On platforms without /proc the writer is refused instead.
 */
export class LastTransaction {
  readonly #dir: string
  readonly #memory: number | undefined
  readonly #mapped_at: number
  readonly #file: PageFile
  readonly #word = Buffer.alloc(8)

  /** Create it while this process has the environment open; close it before the environment. */
  constructor(dir: string) {
    this.#dir = dir
    this.#file = new PageFile(join(dir, 'data.mdb'))
    this.#mapped_at = mappedAt(join(dir, 'lock.mdb'))
    this.#memory = this.#mapped_at === 0 ? undefined : openToWrite('/proc/self/mem')
  }

  /**
   * Call it inside a write transaction, before its first put, with the transaction's own number.
   *
   * @returns whether the transaction follows the newest one. If not, end it without a put, and begin another one.
   * @throws LogBusyError when the number is wrong and cannot be corrected here.
   */
  isPredecessor(of_transaction: number): boolean {
    const newest = this.#file.newestTransaction()
    if (of_transaction === newest + 1) return true
    if (this.#memory === undefined) {
      throw new LogBusyError(
        `lmdb:${this.#dir}: expected its lock file to name transaction ${newest} as the last one, found ` +
          `${of_transaction - 1}: another process opened the folder during a commit. Nothing was written. End all ` +
          'processes that use the folder; the next one to open it corrects that.',
      )
    }
    this.#store(newest)
    return false
  }

  /** Call it after opening, without the writer lock. Commits may come in between, so it looks until both agree. */
  settle(): void {
    if (this.#memory === undefined) return
    for (let look = 0; look < MOST_LOOKS; look += 1) {
      const newest = this.#file.newestTransaction()
      if (this.#stored() >= newest) return
      this.#store(newest)
    }
  }

  close(): void {
    this.#file.close()
    if (this.#memory !== undefined) closeSync(this.#memory)
  }

  #stored(): number {
    readSync(this.#memory as number, this.#word, 0, 8, this.#mapped_at + NUMBER_IN_LOCK_FILE)
    return Number(this.#word.readBigUInt64LE())
  }

  #store(newest: number): void {
    this.#word.writeBigUInt64LE(BigInt(newest))
    writeSync(this.#memory as number, this.#word, 0, 8, this.#mapped_at + NUMBER_IN_LOCK_FILE)
  }
}

/** Place of the number in `MDB_txninfo`, bytes. */
const NUMBER_IN_LOCK_FILE = 8
/** Only commits make a look fail, and each look takes microseconds. */
const MOST_LOOKS = 1_000

/** Undefined if the system does not allow it. */
function openToWrite(path: string): number | undefined {
  try {
    return openSync(path, 'r+')
  } catch {
    return undefined
  }
}
