import { constants } from 'node:fs'
import { access, type FileHandle, open, readdir, rm, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { flushPath } from '../../infra/flush-path.ts'
import type { LockFile } from '../../infra/lock-file.ts'
import { makeFolder } from '../../infra/make-folder.ts'
import { lockPlace } from '../sink-place.ts'
import {
  DRAFT,
  JsonlFolderError,
  makeAgain,
  POSITIONS_FILE,
  readStored,
  type Stored,
  writeStored,
} from './positions-file.ts'

/** Where a test may kill the process: after the lines of a file, of all files, after the positions. */
export type CommitStage = 'appending' | 'appended' | 'committed'

const LOCK = '.lock'

/**
 * A folder of files that only grow, and the positions that they were written up to. A commit appends lines, flushes
 * them, and then replaces the positions, which name the length of every file. What a killed process has appended since
 * then is cut off, and written again.
 */
export class JsonlFolder {
  readonly #dir: string
  readonly #lock: LockFile
  #stored: Stored

  private constructor(dir: string, lock: LockFile, stored: Stored) {
    this.#dir = dir
    this.#lock = lock
    this.#stored = stored
  }

  /**
   * Makes the folder if it does not exist, and removes what was not committed.
   *
   * @param names of every file that may be written
   * @throws PlaceBusyError; JsonlFolderError when the folder has something else, or less than was recorded.
   */
  static async open(dir: string, names: readonly string[]): Promise<JsonlFolder> {
    makeFolder(dir)
    await refuseOthers(dir)
    // The lock's own error would not name the folder.
    await access(dir, constants.W_OK)
    const lock = lockPlace('jsonl', dir, join(dir, LOCK))
    try {
      await refuseOthers(dir)
      let stored = await readStored(dir)
      if (stored === undefined) {
        stored = { positions: [], lengths: new Map(), unreadable: {} }
        await writeStored(dir, stored)
      }
      for (const name of new Set([...names, ...stored.lengths.keys()])) await cutBack(dir, name, stored)
      return new JsonlFolder(dir, lock, stored)
    } catch (cause) {
      lock.close()
      throw cause
    }
  }

  get stored(): Stored {
    return this.#stored
  }

  /**
   * Appends lines and moves the positions, all of it or nothing.
   *
   * @param lines by file
   * @throws Error of the disk: nothing was committed, and the next commit overwrites what was appended.
   */
  async commit(
    lines: ReadonlyMap<string, readonly string[]>,
    { positions, unreadable }: Omit<Stored, 'lengths'>,
    observe?: (stage: CommitStage) => unknown,
  ): Promise<void> {
    const lengths = new Map(this.#stored.lengths)
    let made = false
    for (const [name, some] of lines) {
      const bytes = Buffer.from(some.join(''))
      const at = lengths.get(name)
      made ||= at === undefined
      await this.#append(name, bytes, at ?? 0)
      lengths.set(name, (at ?? 0) + bytes.length)
      await observe?.('appending')
    }
    // The positions must not survive a power failure that a new file does not.
    if (made) await flushPath(this.#dir)
    await observe?.('appended')
    const stored = { positions, lengths, unreadable }
    await writeStored(this.#dir, stored)
    this.#stored = stored
    await observe?.('committed')
  }

  close(): void {
    this.#lock.close()
  }

  async #append(name: string, bytes: Buffer, at: number): Promise<void> {
    const file = await open(join(this.#dir, name), constants.O_RDWR | constants.O_CREAT)
    try {
      const { size } = await file.stat()
      if (size < at) throw tooShort(this.#dir, name, at, size)
      // A commit that failed has left these.
      if (size > at) await file.truncate(at)
      await writeAll(file, bytes, at)
      await file.datasync()
    } finally {
      await file.close()
    }
  }
}

async function writeAll(file: FileHandle, bytes: Buffer, at: number): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, written, bytes.length - written, at + written)
    written += bytesWritten
  }
}

async function cutBack(dir: string, name: string, { lengths }: Stored): Promise<void> {
  const file = join(dir, name)
  const length = lengths.get(name)
  const size = await stat(file).then(
    (found) => found.size,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      throw error
    },
  )
  if (length === undefined) {
    if (size !== undefined) await rm(file)
  } else if (size === undefined || size < length) throw tooShort(dir, name, length, size)
  else if (size > length) await truncate(file, length)
}

function tooShort(dir: string, name: string, expected: number, found: number | undefined): JsonlFolderError {
  const problem = found === undefined ? 'no such file' : `${found}`
  return new JsonlFolderError(
    `${join(dir, name)}: expected the ${expected} bytes that were written, found ${problem}`,
    makeAgain(dir),
  )
}

/** A folder without positions must be empty: its files would be taken for this sink's own. */
async function refuseOthers(dir: string): Promise<void> {
  const entries = await readdir(dir)
  if (entries.includes(POSITIONS_FILE)) return
  const others = entries.filter((name) => name !== DRAFT && !name.startsWith(LOCK))
  if (others.length === 0) return
  const some = others.slice(0, 3).join(', ')
  throw new JsonlFolderError(
    `${dir}: expected an empty folder, or one of a JSON Lines sink with ${POSITIONS_FILE}, found ${some}`,
    'name an empty or a new folder with --jsonl',
  )
}
