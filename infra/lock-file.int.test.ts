import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { temporaryFolder } from '../tests/temporary-folder.ts'
import { LockFile } from './lock-file.ts'

describe('a lock file', () => {
  test('one that is held alone can be opened, and is refused in an answer, until it is let go', async () => {
    const file = join(await temporaryFolder(), 'lock')
    const holder = new LockFile(file, 0)
    expect(holder.takeAlone()).toBe(true)
    const other = new LockFile(file, 0)
    expect([other.takeAlone(), other.takeShared()]).toEqual([false, false])
    holder.close()
    expect(other.takeAlone()).toBe(true)
    other.close()
  })

  test('those that share it keep out one that wants it alone', async () => {
    const file = join(await temporaryFolder(), 'lock')
    const [one, two, alone] = [new LockFile(file, 0), new LockFile(file, 0), new LockFile(file, 0)]
    expect([one.takeShared(), two.takeShared(), alone.takeAlone()]).toEqual([true, true, false])
    one.close()
    expect(alone.takeAlone()).toBe(false)
    two.close()
    expect(alone.takeAlone()).toBe(true)
    alone.close()
  })
})
