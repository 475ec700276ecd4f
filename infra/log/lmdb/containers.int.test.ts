import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { Processes } from '../../../testing/lmdb/processes.ts'
import { SmallDisk } from '../../../testing/small-disk.ts'
import { append, values } from '../conformance/steps.ts'
import { openLmdbLog } from './lmdb-log.ts'

/** Two containers on one volume are two PID namespaces on one folder, which these tests create. */

const LIMIT = { timeout: 60_000 }
const CONTAINER = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child=SIGKILL']
const [command = '', ...flags] = CONTAINER
const { status, stderr, error } = spawnSync(command, [...flags, 'true'], { encoding: 'utf8' })
const none = status === 0 ? undefined : (error?.message ?? stderr.trim())
const skipped = none === undefined ? '' : ` (skipped: no PID namespace of its own: ${none})`

const BUSY = /LogBusyError: lmdb:.*expected processes of one container at a time, found one of another at work/

test.skipIf(none !== undefined)(
  `a process of another container is refused, for reading and for writing, while one of the first is active${skipped}`,
  LIMIT,
  async () => {
    await using processes = new Processes()
    const log = await openLmdbLog({ dir: processes.dir })
    await log.createTopics([{ name: 't', partitions: 1 }])
    await append(log, 't', 0, ['a'])
    for (const access of ['write', 'read']) {
      const other = processes.start('attempt', { topic: 't', access }, {}, CONTAINER)
      expect((await other.says(({ opened }) => opened !== undefined)).opened).toMatch(BUSY)
    }
    const beside = processes.start('attempt', { topic: 't', access: 'write' })
    expect(await beside.says(({ opened }) => opened !== undefined)).toMatchObject({ opened: 'done', appended: 'done' })
    await log.close()
    const next = processes.start('attempt', { topic: 't', access: 'write' }, {}, CONTAINER)
    expect(await next.says(({ opened }) => opened !== undefined)).toMatchObject({ opened: 'done', appended: 'done' })
    await next.exited
    const after = await openLmdbLog({ dir: processes.dir })
    expect(await values(after, 't', 0)).toEqual(['a', 'attempt', 'attempt'])
    await after.close()
  },
)

test.skipIf(none !== undefined)(
  `a killed container leaves the folder to the next one at once, and no file behind${skipped}`,
  LIMIT,
  async () => {
    await using processes = new Processes()
    const log = await openLmdbLog({ dir: processes.dir })
    await log.createTopics([{ name: 't', partitions: 2 }])
    await log.close()
    const args = { topic: 't', name: 'p', transactions: 10_000, records: 2, value_bytes: 10 }
    const killed = processes.start('produce', args, {}, CONTAINER)
    await killed.says(({ committed }) => committed === 3)
    await expect(openLmdbLog({ dir: processes.dir })).rejects.toMatchObject({
      name: 'LogBusyError',
      retry: 'later',
      remedy: expect.stringMatching(/--pid container:NAME.*--log kafka/),
    })
    await killed.end()
    // The namespace ends with its first process, a moment after the command that created it.
    const open = () => openLmdbLog({ dir: processes.dir }).then((again) => again.close(), String)
    await expect.poll(open, { timeout: 20_000 }).toBe(undefined)
    expect(readdirSync(join(processes.dir, 'namespaces')).length).toBe(2)
  },
)

test.skipIf(none !== undefined)(
  `of two containers that start at the same moment one gets the folder${skipped}`,
  LIMIT,
  async () => {
    await using processes = new Processes()
    const log = await openLmdbLog({ dir: processes.dir })
    await log.createTopics([{ name: 't', partitions: 2 }])
    await log.close()
    const args = (name: string) => ({ topic: 't', name, transactions: 10_000, records: 2, value_bytes: 10 })
    const both = ['a', 'b'].map((name) => processes.start('produce', args(name), {}, CONTAINER))
    const first = await Promise.race(both.map((child) => child.exited.then(() => child)))
    expect(first.errors).toMatch(BUSY)
    const other = both.find((child) => child !== first)
    const count = () => other?.said.length ?? 0
    await expect.poll(count, { timeout: 20_000 }).toBeGreaterThan(0)
    const before = count()
    await sleep(500)
    expect(count()).toBeGreaterThan(before)
  },
)

const disk = new SmallDisk(await mkdtemp(join(tmpdir(), 'plumbline-test-')), '24m')
afterAll(async () => {
  disk.unmount()
  await rm(disk.dir, { recursive: true, force: true })
})

test.skipIf(disk.refused !== undefined)(
  `on a full disk a folder can be opened, both one that was open before and one without claims${
    disk.refused === undefined ? '' : ` (skipped: no file system of its own: ${disk.refused})`
  }`,
  LIMIT,
  async () => {
    const [claimed = '', fresh = ''] = ['claimed', 'fresh'].map((name) => join(disk.dir, name))
    for (const dir of [claimed, fresh]) {
      const log = await openLmdbLog({ dir })
      await log.createTopics([{ name: 't', partitions: 1 }])
      await append(log, 't', 0, ['a'])
      await log.close()
    }
    await rm(join(fresh, 'namespaces'), { recursive: true })
    disk.fill(0)
    for (const dir of [claimed, fresh]) {
      const log = await openLmdbLog({ dir })
      expect(await values(log, 't', 0)).toEqual(['a'])
      await log.close()
    }
  },
)
