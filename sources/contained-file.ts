import { constants } from 'node:fs'
import { open, realpath } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'

/** Why a listed file was not read. */
export class ContainedFileError extends Error {
  override readonly name = 'ContainedFileError'
  readonly retry = 'never'
}

/**
 * Reads a regular file of at most `max_bytes` inside `folder`. File lists are untrusted: a path or link that leaves the
 * folder, a device and a pipe are rejected before anything is read.
 *
 * @throws ContainedFileError that describes what was found instead.
 */
export async function readContained(folder: string, path: string, max_bytes: number): Promise<Buffer> {
  const failed = (error: NodeJS.ErrnoException): never => {
    if (error instanceof ContainedFileError) throw error
    const why = {
      ENOENT: `there is no such file in ${folder}`,
      EISDIR: 'it is a folder',
      ELOOP: 'its links lead nowhere',
    }
    throw new ContainedFileError(why[error.code as keyof typeof why] ?? error.message)
  }
  const [root, target] = await Promise.all([realpath(folder), realpath(join(folder, path))]).catch(failed)
  const inside = relative(root, target)
  if (inside === '' || inside === '..' || inside.startsWith(`..${sep}`)) {
    throw new ContainedFileError(`it lies outside of ${folder}`)
  }
  // Non-blocking: opening a pipe without a writer would block.
  const file = await open(target, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW).catch(failed)
  try {
    const found = await file.stat()
    if (!found.isFile()) throw new ContainedFileError('expected a regular file')
    if (found.size > max_bytes)
      throw new ContainedFileError(`expected at most ${max_bytes} bytes, it has ${found.size}`)
    return await file.readFile()
  } catch (error) {
    return failed(error as Error)
  } finally {
    await file.close()
  }
}
