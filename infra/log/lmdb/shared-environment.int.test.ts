import { rmSync, symlinkSync } from 'node:fs'
import { expect, test } from 'vitest'
import { Processes } from '../../../testing/lmdb/processes.ts'
import { append, values } from '../conformance/steps.ts'
import type { Log } from '../port/log.ts'
import { openLmdbLog } from './lmdb-log.ts'
import { openTables } from './tables.ts'

const LIMIT = { timeout: 120_000 }
const TOPICS = [{ name: 't', partitions: 1 }]
const READ_FIRST = /expected no handle of this process that was opened with access 'read' first, found 1\. Close it/

async function create(dir: string): Promise<void> {
  const log = await openLmdbLog({ dir })
  await log.createTopics(TOPICS)
  await log.close()
}

/** W opens a handle for writing and R one for reading; w and r close the oldest of them. */
const ORDERS = ['W R w r R r W R w r', 'W R w W r w', 'W R w R W R w r r w r', 'W W R w R w W r r w', 'R R r r W R w r']

test.each(ORDERS)('in the order %s, every handle of a process works next to other processes', LIMIT, async (order) => {
  await using processes = new Processes()
  const { dir } = processes
  await create(dir)
  const holder = processes.start('create each', { names: ['.'] })
  const opener = processes.start('open often', {})
  await holder.says(({ created }) => created === '.')
  await opener.says(({ ready }) => ready === true)
  const open: Record<'W' | 'R', Log[]> = { W: [], R: [] }
  const written: string[] = []
  for (const step of order.split(' ')) {
    if (step === 'W' || step === 'R')
      open[step].push(await openLmdbLog({ dir, access: step === 'W' ? 'write' : 'read' }))
    else await open[step === 'w' ? 'W' : 'R'].shift()?.close()
    for (const log of open.W) {
      written.push(`value ${written.length}`)
      await append(log, 't', 0, written.slice(-1))
    }
    for (const log of [...open.W, ...open.R]) expect(await values(log, 't', 0)).toEqual(written)
  }
  expect([...open.W, ...open.R]).toEqual([])
  expect([holder.errors, opener.errors]).toEqual(['', ''])
})

test(
  'a process that has the log open for reading is told to close that handle, by whatever path it was opened',
  LIMIT,
  async () => {
    await using processes = new Processes()
    await create(processes.dir)
    const link = `${processes.dir}-link`
    symlinkSync(processes.dir, link)
    for (const [first, second] of [
      [processes.dir, processes.dir],
      [processes.dir, link],
      [link, processes.dir],
    ] as const) {
      const reader = await openLmdbLog({ dir: first, access: 'read' })
      await expect(openLmdbLog({ dir: second })).rejects.toThrow(READ_FIRST)
      expect(await values(reader, 't', 0)).toEqual([])
      await reader.close()
      await (await openLmdbLog({ dir: second })).close()
    }
    rmSync(link)
  },
)

test(
  'a handle whose commits would not be flushed is refused, and works when the one that decided that is closed',
  LIMIT,
  async () => {
    await using processes = new Processes()
    const { dir } = processes
    const loose = await openLmdbLog({ dir, durability: 'survives_kill_only' })
    await loose.createTopics(TOPICS)
    await expect(openLmdbLog({ dir })).rejects.toThrow(/opened with durability 'survives_kill_only' first, found 1/)
    const reader = await openLmdbLog({ dir, access: 'read' })
    await loose.close()
    await expect(openLmdbLog({ dir })).rejects.toThrow(/opened with durability 'survives_kill_only' first, found 1/)
    await reader.close()
    const log = await openLmdbLog({ dir })
    const also = await openLmdbLog({ dir, durability: 'survives_kill_only' })
    await append(also, 't', 0, ['a'])
    expect(await values(log, 't', 0)).toEqual(['a'])
    await also.close()
    await log.close()
  },
)

test(
  'a folder that this process has open for reading behind the driver is refused with the likely cause',
  LIMIT,
  async () => {
    await using processes = new Processes()
    await create(processes.dir)
    const { env } = openTables(processes.dir, true, 'flushed')
    await expect(openLmdbLog({ dir: processes.dir })).rejects.toThrow(/refused.*open for reading only: close it there/)
    await env.close()
    await create(processes.dir)
  },
)
