import { setTimeout as wait } from 'node:timers/promises'
import { LockFile } from '../lock-file.ts'

/** Runs `work` under a lock on `file`, exclusive among all processes and callers. */
export async function withFileLock<T>(
  file: string,
  work: () => Promise<T>,
  waiting: () => void = () => {},
): Promise<T> {
  const lock = new LockFile(file, 0)
  try {
    for (let told = false; !lock.takeAlone(); told = true) {
      if (!told) waiting()
      await wait(100)
    }
    return await work()
  } finally {
    lock.close()
  }
}
