import { utimes } from 'node:fs/promises'
import { isAbsent } from './directory-store.ts'

/**
 * Notes that a blob is in use now, so that it is not deleted before a record can name it.
 *
 * @returns false if there is none
 */
export async function noteUse(path: string): Promise<boolean> {
  const now = new Date()
  try {
    await utimes(path, now, now)
    return true
  } catch (error) {
    if (isAbsent(error as NodeJS.ErrnoException)) return false
    // Another user's file, or a folder that is read only: who may not write here deletes nothing here either.
    if (['EACCES', 'EPERM', 'EROFS'].includes((error as NodeJS.ErrnoException).code ?? '')) return true
    throw error
  }
}
