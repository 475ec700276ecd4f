import { mkdir, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { BlobsAwayError } from './blobs.ts'

/** Blobs are stored in folders of these names, so a folder that has some is a store. */
export const SHARD = /^[0-9a-f]{2}$/

/**
 * Marks a folder as a store. It is written into a new store before the file `made` outside of it. A person who creates
 * it in an empty folder confirms that this is the store, and that its blobs are lost.
 */
export const MARK = '.blob-store'

const MARK_TEXT = 'This folder is a blob store.\n'
const MADE_TEXT = 'Blobs were put into the blob folder. While it is absent or empty, nothing is written in its place.\n'

/** Distinguishes a blob store from an absent folder and from a mount point without its file system. */
export class DirectoryStore {
  readonly #root: string
  readonly #made: string | undefined
  /** Whether this process knows that the store existed. */
  #seen = false

  /** @param made a file outside of the folder that records, for every process, that blobs were put into it */
  constructor(root: string, made: string | undefined) {
    this.#root = root
    this.#made = made
  }

  /** Whether the folder is a store now, so that a blob not found in it is missing. */
  async isThere(): Promise<boolean> {
    const names = await namesIn(this.#root)
    const there = names.some((name) => SHARD.test(name) || name === MARK)
    this.#seen ||= there
    return there
  }

  /**
   * Repeats a lookup between two checks of the store, because the first one may have run before a mount.
   *
   * @throws BlobsAwayError when the store is not there.
   */
  async whileThere<T>(what: string, look: () => Promise<T>): Promise<T> {
    if (!(await this.isThere())) throw this.away(what)
    const found = await look()
    if (!(await this.isThere())) throw this.away(what)
    return found
  }

  /** Whether the store is absent although this process has seen it or the file `made` exists. */
  async isAway(): Promise<boolean> {
    return (await this.#look()) === 'away'
  }

  async #look(): Promise<'there' | 'away' | 'new'> {
    // Check `made` first. A store that another process is creating gets `made` last, so it never looks unavailable.
    this.#seen ||= this.#made !== undefined && (await exists(this.#made))
    const was_made = this.#seen
    if (await this.isThere()) return 'there'
    return was_made ? 'away' : 'new'
  }

  /** Makes the folder of a new store. @throws BlobsAwayError when the folder of an old one is unavailable. */
  async prepare(): Promise<void> {
    const found = await this.#look()
    if (found === 'away') throw this.away('nothing was written')
    if (found === 'new') {
      await mkdir(this.#root, { recursive: true })
      await writeFile(join(this.#root, MARK), MARK_TEXT)
    }
    if (this.#made !== undefined && !(await exists(this.#made))) await writeFile(this.#made, MADE_TEXT)
    this.#seen = true
  }

  away(what: string): BlobsAwayError {
    return new BlobsAwayError(
      `${what}: the blob folder ${this.#root} is absent or empty; is it mounted? ` +
        `If its blobs are lost, create the file ${join(this.#root, MARK)}: what needs them becomes a dead letter.`,
    )
  }
}

async function namesIn(folder: string): Promise<readonly string[]> {
  return readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (isAbsent(error)) return []
    throw error
  })
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (isAbsent(error)) return false
      throw error
    },
  )
}

/** Any other error (a failing disk, a folder without read permission) does not show what the folder contains. */
export const isAbsent = ({ code }: NodeJS.ErrnoException) => code === 'ENOENT' || code === 'ENOTDIR'
