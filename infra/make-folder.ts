import { mkdirSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'

/**
 * Makes a folder that a user names, and its parents. Node's own `recursive` never returns where the system reports an
 * existing folder as missing, as /proc does.
 *
 * @param mode of the folders that are made, before the umask
 * @throws the system's error: EACCES, ENOTDIR, ENOENT, EEXIST where a file is in its place …
 */
export function makeFolder(folder: string, mode = 0o777): void {
  const path = resolve(folder)
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return
  const above = dirname(path)
  if (above !== path) makeFolder(above, mode)
  try {
    mkdirSync(path, { mode })
  } catch (error) {
    // Another process was faster.
    if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw error
  }
}
