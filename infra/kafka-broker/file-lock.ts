import { DatabaseSync } from 'node:sqlite'
import { setTimeout as wait } from 'node:timers/promises'

/**
 * Runs `work` while no other process or caller does under the same file. The kernel lets go of the lock when its holder
 * dies, which a file with a process id in it would not do: an exclusive transaction of an empty SQLite file is such a lock.
 */
export async function withFileLock<T>(
  file: string,
  work: () => Promise<T>,
  waiting: () => void = () => {},
): Promise<T> {
  const lock = new DatabaseSync(file, { timeout: 0 })
  try {
    for (let told = false; !taken(lock); told = true) {
      if (!told) waiting()
      await wait(100)
    }
    return await work()
  } finally {
    lock.close()
  }
}

function taken(lock: DatabaseSync): boolean {
  try {
    lock.exec('BEGIN EXCLUSIVE')
    return true
  } catch (error) {
    const BUSY = 5
    if ((error as { errcode?: number }).errcode === BUSY) return false
    throw error
  }
}
