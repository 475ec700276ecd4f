import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { temporaryFolder } from '../testing/temporary-folder.ts'
import { LockFile } from './lock-file.ts'

describe('a lock file', () => {
  test('while one handle holds it exclusively, another can open it but gets no lock until it is released', async () => {
    const file = join(await temporaryFolder(), 'lock')
    const holder = new LockFile(file, 0)
    expect(holder.takeAlone()).toBe(true)
    const other = new LockFile(file, 0)
    expect([other.takeAlone(), other.takeShared()]).toEqual([false, false])
    holder.close()
    expect(other.takeAlone()).toBe(true)
    other.close()
  })

  test('shared locks exclude an exclusive one', async () => {
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
