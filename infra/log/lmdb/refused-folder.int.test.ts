import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { append, numbered, values } from '../conformance/steps.ts'
import { type Log, LogFullError, LogReadOnlyError } from '../log.ts'
import { openLmdbLog } from './lmdb-log.ts'
import { Processes } from './processes.ts'
import { freeBytes } from './room.ts'
import { openTables } from './tables.ts'

/** Folders that refuse: full, read-only, somebody else's, written by a newer release. */

const LIMIT = { timeout: 60_000 }

function mount(...args: string[]): string | undefined {
  const { status, stderr, error } = spawnSync('mount', args, { encoding: 'utf8' })
  return status === 0 ? undefined : (error?.message ?? stderr.trim())
}

/** A file system of 6 MB of its own, or why there cannot be one. */
const small = mkdtempSync(join(tmpdir(), 'plumbline-small-'))
const no_mount = mount('-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', small)
if (no_mount === undefined) spawnSync('umount', [small])
rmSync(small, { recursive: true })
const skipped = no_mount === undefined ? '' : ` (skipped: mounting a small file system needs root: ${no_mount})`
const is_root = process.getuid?.() === 0

class SmallDisk implements AsyncDisposable {
  readonly dir = mkdtempSync(join(tmpdir(), 'plumbline-small-'))

  constructor() {
    const failure = mount('-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', this.dir)
    if (failure !== undefined) throw new Error(failure)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    spawnSync('umount', ['--lazy', this.dir])
    rmSync(this.dir, { recursive: true, force: true })
  }
}

async function fill(log: Log): Promise<{ committed: number; failure: unknown }> {
  for (let committed = 0; ; committed += 1) {
    try {
      await append(log, 't', 0, [`${committed}`.padEnd(200_000)])
    } catch (failure) {
      return { committed, failure }
    }
  }
}

test.skipIf(no_mount !== undefined)(
  `a full disk: a clear error, nothing lost, nothing half, and it goes on after room was made${skipped}`,
  LIMIT,
  async () => {
    await using disk = new SmallDisk()
    const log = await openLmdbLog({ dir: disk.dir })
    await log.createTopics([{ name: 't', partitions: 1 }])
    const { committed, failure } = await fill(log)
    expect(failure).toBeInstanceOf(LogFullError)
    expect(String(failure)).toMatch(/lmdb:.*expected room on the disk, found none.*make room and retry/)
    expect(committed).toBeGreaterThan(5)
    const stored = async () => (await values(log, 't', 0)).map((value) => value.trim())
    expect(await stored()).toEqual(numbered(committed, ''))
    expect(mount('-o', 'remount,size=40m', disk.dir)).toBeUndefined()
    await append(log, 't', 0, ['after'])
    expect(await stored()).toEqual([...numbered(committed, ''), 'after'])
    await log.close()
    const again = await openLmdbLog({ dir: disk.dir })
    expect((await values(again, 't', 0)).length).toBe(committed + 1)
    await again.close()
  },
)

test.skipIf(no_mount !== undefined)(`what retention deletes makes room on a full disk${skipped}`, LIMIT, async () => {
  await using disk = new SmallDisk()
  const log = await openLmdbLog({ dir: disk.dir })
  await log.createTopics([{ name: 't', partitions: 1 }])
  const { committed } = await fill(log)
  await log.deleteBefore('t', 0, BigInt(committed - 2))
  await append(log, 't', 0, ['after'])
  expect((await values(log, 't', 0)).map((value) => value.trim())).toEqual([
    `${committed - 2}`,
    `${committed - 1}`,
    'after',
  ])
  await log.close()
})

test.skipIf(no_mount !== undefined)(
  `a member that a full disk kept from leaving is not kept alive: its partitions go to another${skipped}`,
  LIMIT,
  async () => {
    await using disk = new SmallDisk()
    const log = await openLmdbLog({ dir: disk.dir })
    await log.createTopics([{ name: 't', partitions: 2 }])
    const path = join(disk.dir, 'rest')
    const another = () => log.join({ group: 'g', topics: ['t'], session_timeout_ms: 400 })
    const first = await another()
    expect((await first.poll({ max_bytes: 1, wait_ms: 1_000 })).gained).toEqual([0, 1])
    await fill(log)
    writeFileSync(path, Buffer.alloc(freeBytes(disk.dir)))
    await expect(first.leave()).rejects.toThrow(LogFullError)
    rmSync(path)
    expect(mount('-o', 'remount,size=40m', disk.dir)).toBeUndefined()
    const second = await another()
    const owned = new Set<number>()
    await expect
      .poll(
        async () => {
          for (const partition of (await second.poll({ max_bytes: 1, wait_ms: 50 })).gained) owned.add(partition)
          return [...owned].sort()
        },
        { timeout: 20_000 },
      )
      .toEqual([0, 1])
    await log.close()
  },
)

test.skipIf(no_mount !== undefined)(
  `LMDB itself is never the one to find the disk full, where it can be seen before${skipped}`,
  LIMIT,
  async () => {
    await using disk = new SmallDisk()
    await using processes = new Processes(join(disk.dir, 'log'))
    const log = await openLmdbLog({ dir: processes.dir })
    await log.createTopics([{ name: 't', partitions: 2 }])
    const producer = processes.start('produce', {
      topic: 't',
      name: 'p',
      transactions: 1_000,
      records: 4,
      value_bytes: 50_000,
    })
    expect(await producer.exited).toBe(1)
    expect(producer.errors).toMatch(/LogFullError: .*expected room on the disk, found none.*bytes are free/)
    // What lmdb-js prints when it overruns its own message.
    expect(producer.errors).not.toMatch(/Write error/)
    await log.close()
  },
)

test.skipIf(no_mount !== undefined)(
  `a read-only file system: reading works, writing says what to do${skipped}`,
  LIMIT,
  async () => {
    await using disk = new SmallDisk()
    const log = await openLmdbLog({ dir: disk.dir })
    await log.createTopics([{ name: 't', partitions: 1 }])
    await append(log, 't', 0, numbered(3))
    await log.close()
    expect(mount('-o', 'remount,ro', disk.dir)).toBeUndefined()
    await expect(openLmdbLog({ dir: disk.dir })).rejects.toThrow(LogReadOnlyError)
    await expect(openLmdbLog({ dir: disk.dir })).rejects.toThrow(
      /expected a folder that this user may write.*access 'read'/,
    )
    const reader = await openLmdbLog({ dir: disk.dir, access: 'read' })
    expect(await values(reader, 't', 0)).toEqual(numbered(3))
    await expect(append(reader, 't', 0, ['no'])).rejects.toThrow(LogReadOnlyError)
    await reader.close()
  },
)

test.skipIf(!is_root)(
  `a folder of another user: a clear error${is_root ? '' : ' (skipped: needs root, to become another user)'}`,
  LIMIT,
  async () => {
    await using processes = new Processes()
    const log = await openLmdbLog({ dir: processes.dir })
    await log.createTopics([{ name: 't', partitions: 1 }])
    await append(log, 't', 0, numbered(3))
    chmodSync(processes.dir, 0o755)
    const other = processes.start('attempt', { topic: 't', access: 'write' }, { uid: 65534, gid: 65534 })
    const { opened } = await other.says((said) => said.opened !== undefined)
    expect(opened).toMatch(
      /LogReadOnlyError: lmdb:.*expected a folder that this user may write.*Change its owner or mode/,
    )
    await log.close()
  },
)

test('a handle opened for reading reads beside a writer and refuses to write', LIMIT, async () => {
  await using processes = new Processes()
  const log = await openLmdbLog({ dir: processes.dir })
  await log.createTopics([{ name: 't', partitions: 1 }])
  await append(log, 't', 0, numbered(3))
  const reader = processes.start('attempt', { topic: 't', access: 'read' })
  const said = await reader.says((one) => one.opened !== undefined)
  expect(said).toMatchObject({ opened: 'done', read: 'done' })
  expect(said.appended).toMatch(/LogReadOnlyError/)
  expect(reader.said[0]).toEqual({ records: 3 })
  await log.close()
})

test(
  'a folder that a newer release wrote is refused, and one that is not there is not made by reading',
  LIMIT,
  async () => {
    await using processes = new Processes()
    await expect(openLmdbLog({ dir: join(processes.dir, 'none'), access: 'read' })).rejects.toThrow(/found none/)
    const { env, catalog } = openTables(processes.dir, false, 'flushed')
    catalog.putSync(['format'], 99)
    await env.close()
    await expect(openLmdbLog({ dir: processes.dir })).rejects.toThrow(
      /format 2 or older, found 99. A newer release wrote it/,
    )
    await expect(openLmdbLog({ dir: processes.dir, access: 'read' })).rejects.toThrow(/A newer release wrote it/)
  },
)

test(
  'a transaction that LMDB refuses half way leaves nothing, and others that share its write go through',
  LIMIT,
  async () => {
    await using processes = new Processes()
    const log = await openLmdbLog({ dir: processes.dir })
    await log.createTopics([{ name: 't', partitions: 1 }])
    const commits = ['a', 'refused', 'b'].map(async (name) => {
      const transaction = (await log.producer({ transactional_id: name })).begin()
      transaction.append('t', 0, { key: null, headers: [], value: Buffer.from(name) })
      const group = name === 'refused' ? 'g'.repeat(4_000) : name
      transaction.standalonePositions(group, [{ topic: 't', partition: 0, next: 1n }])
      await transaction.commit()
    })
    const outcomes = await Promise.allSettled(commits)
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect((await values(log, 't', 0)).sort()).toEqual(['a', 'b'])
    await log.close()
  },
)
