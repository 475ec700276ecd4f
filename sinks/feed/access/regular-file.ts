import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'

const MAX_BYTES = 4 * 2 ** 20

export interface RegularFile {
  readonly text: string
  readonly mode: number
  /** Differs after any change. */
  readonly version: string
}

/**
 * Reads a file that a person names. Neither a pipe nor a device is read: they have no end.
 *
 * @param last the version that was read last
 * @returns undefined when the file is as it was then
 * @throws Error when it cannot be read, is no regular file, or is too large
 */
export async function readRegularFile(file: string, last?: string): Promise<RegularFile | undefined> {
  // A pipe without a writer would block.
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    return await read(handle, last)
  } finally {
    await handle.close()
  }
}

async function read(handle: FileHandle, last: string | undefined): Promise<RegularFile | undefined> {
  const stats = await handle.stat({ bigint: true })
  if (!stats.isFile()) throw new Error('expected a regular file')
  if (stats.size > MAX_BYTES) throw new Error(`expected at most ${MAX_BYTES} bytes, got ${stats.size}`)
  const version = `${stats.mtimeNs} ${stats.size} ${stats.ino}`
  if (version === last) return undefined
  return { text: await handle.readFile('utf8'), mode: Number(stats.mode) & 0o777, version }
}
