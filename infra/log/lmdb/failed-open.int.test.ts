import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Processes } from '../../../testing/lmdb/processes.ts'
import { append, values } from '../conformance/steps.ts'
import type { Log } from '../port/log.ts'
import { lmdb } from './lmdb-js.ts'
import { openLmdbLog } from './lmdb-log.ts'
import { mappedAt } from './lock-word.ts'
import { openTables } from './tables.ts'

/**
 * Handles of one process share the environment of a folder, with the access of the first. One that stays open after a
 * failure would let no later handle write.
 */

const LIMIT = { timeout: 120_000 }

function isOpen(dir: string): boolean {
  return mappedAt(join(dir, 'lock.mdb')) !== 0
}

/** A log that a process has begun to create: the environment, and these of its tables. */
async function begun(dir: string, tables: readonly string[]): Promise<void> {
  const env = lmdb.open({ path: dir, noSubdir: false, maxDbs: 8 })
  for (const name of tables) env.openDB({ name })
  await env.close()
}

async function writeAndRead(dir: string): Promise<void> {
  const log = await openLmdbLog({ dir })
  await log.createTopics([{ name: 't', partitions: 1 }])
  await append(log, 't', 0, ['a'])
  expect(await values(log, 't', 0)).toEqual(['a'])
  await log.close()
}

test.each([{ tables: [] }, { tables: ['chunks'] }, { tables: ['chunks', 'catalog'] }])(
  'a reader of a log that is being created, with the tables $tables, finds none; then this process can write it',
  LIMIT,
  async ({ tables }) => {
    await using processes = new Processes()
    await begun(processes.dir, tables)
    for (let i = 0; i < 20; i += 1) {
      await expect(openLmdbLog({ dir: processes.dir, access: 'read' })).rejects.toThrow(
        /expected a log to read, found none/,
      )
      expect(isOpen(processes.dir)).toBe(false)
    }
    await writeAndRead(processes.dir)
    expect(isOpen(processes.dir)).toBe(false)
  },
)

test('a process that reads a log from the moment on that another creates it can write to it', LIMIT, async () => {
  await using processes = new Processes()
  const names = Array.from({ length: 20 }, (_, i) => `log-${i}`)
  const other = processes.start('create each', { names })
  for (const name of names) {
    const dir = join(processes.dir, name)
    mkdirSync(dir)
    let reader: Log | undefined
    while (reader === undefined) {
      reader = await openLmdbLog({ dir, access: 'read' }).catch(() => undefined)
      await turn()
    }
    await reader.close()
    const log = await openLmdbLog({ dir })
    // The other process may not have come to it yet.
    await log.createTopics([{ name: 't', partitions: 1 }])
    await append(log, 't', 0, ['a'])
    expect(await values(log, 't', 0)).toEqual(['a'])
    await log.close()
  }
  expect(other.errors).toBe('')
})

test.each(['read', 'write'] as const)(
  'a log of a newer release is not left open by an attempt to %s it',
  LIMIT,
  async (access) => {
    await using processes = new Processes()
    const { env, catalog } = openTables(processes.dir, false, 'flushed')
    catalog.putSync(['format'], 99)
    await env.close()
    await expect(openLmdbLog({ dir: processes.dir, access })).rejects.toThrow(/A newer release wrote it/)
    expect(isOpen(processes.dir)).toBe(false)
  },
)

test.each(['read', 'write'] as const)(
  'a log whose readers are as many as it has room for is not left open by an attempt to %s it, and is open to all later',
  LIMIT,
  async (access) => {
    await using processes = new Processes()
    await writeAndRead(processes.dir)
    const readers = processes.start('take all readers', {})
    expect(await readers.says(() => true)).toMatchObject({ refused: expect.stringContaining('MDB_READERS_FULL') })
    for (let i = 0; i < 5; i += 1) {
      await expect(openLmdbLog({ dir: processes.dir, access })).rejects.toThrow(/expected at most 1,024 readers/)
      expect(isOpen(processes.dir)).toBe(false)
    }
    await readers.end()
    const log = await openLmdbLog({ dir: processes.dir })
    await append(log, 't', 0, ['b'])
    expect(await values(log, 't', 0)).toEqual(['a', 'b'])
    await log.close()
  },
)
