import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { anotherUser, WHY_SKIPPED } from '../../../testing/another-user.ts'
import { Processes } from '../../../testing/lmdb/processes.ts'
import { SmallDisk } from '../../../testing/small-disk.ts'
import { append, numbered, values } from '../conformance/steps.ts'
import { type Log, LogFullError, LogReadOnlyError } from '../port/log.ts'
import { openLmdbLog } from './lmdb-log.ts'
import { mappedAt } from './lock-word.ts'
import { Reader } from './reader.ts'
import { freeBytes } from './room.ts'
import { openTables } from './tables.ts'

/** Folders that cannot be written: full, read-only, of another user, or written by a newer release. */

const LIMIT = { timeout: 60_000 }

/** A separate file system of 6 MB and its folder; removed at the end. */
class SmallFolder extends SmallDisk {
  constructor() {
    super(mkdtempSync(join(tmpdir(), 'plumbline-small-')), '6m')
  }

  override [Symbol.dispose](): void {
    super[Symbol.dispose]()
    rmSync(this.dir, { recursive: true, force: true })
  }
}

function whyNoMount(): string | undefined {
  using tried = new SmallFolder()
  return tried.refused
}

const no_mount = whyNoMount()
const skipped = no_mount === undefined ? '' : ` (skipped: mounting a small file system needs root: ${no_mount})`

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
  `a full disk: a clear error, nothing lost or half written, and work continues once there is room${skipped}`,
  LIMIT,
  async () => {
    using disk = new SmallFolder()
    const log = await openLmdbLog({ dir: disk.dir })
    await log.createTopics([{ name: 't', partitions: 1 }])
    const { committed, failure } = await fill(log)
    expect(failure).toBeInstanceOf(LogFullError)
    expect(String(failure)).toMatch(/lmdb:.*expected room on the disk, found none.*make room and retry/)
    expect(committed).toBeGreaterThan(5)
    const stored = async () => (await values(log, 't', 0)).map((value) => value.trim())
    expect(await stored()).toEqual(numbered(committed, ''))
    expect(disk.remount('size=40m')).toBeUndefined()
    await append(log, 't', 0, ['after'])
    expect(await stored()).toEqual([...numbered(committed, ''), 'after'])
    await log.close()
    const again = await openLmdbLog({ dir: disk.dir })
    expect((await values(again, 't', 0)).length).toBe(committed + 1)
    await again.close()
  },
)

test.skipIf(no_mount !== undefined)(`what retention deletes frees room on a full disk${skipped}`, LIMIT, async () => {
  using disk = new SmallFolder()
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
  `a member that could not leave because of a full disk is not kept alive: its partitions go to another${skipped}`,
  LIMIT,
  async () => {
    using disk = new SmallFolder()
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
    expect(disk.remount('size=40m')).toBeUndefined()
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
  `a handle that a full disk kept from leaving its group is closed all the same${skipped}`,
  LIMIT,
  async () => {
    using disk = new SmallFolder()
    const log = await openLmdbLog({ dir: disk.dir })
    await log.createTopics([{ name: 't', partitions: 1 }])
    await log.join({ group: 'g', topics: ['t'], session_timeout_ms: 400 })
    await fill(log)
    writeFileSync(join(disk.dir, 'rest'), Buffer.alloc(freeBytes(disk.dir)))
    await expect(log.close()).rejects.toThrow(LogFullError)
    expect(mappedAt(join(disk.dir, 'lock.mdb'))).toBe(0)
    await expect(log.endOffsets('t')).rejects.toThrow(/this handle is closed/)
  },
)

test.skipIf(no_mount !== undefined)(
  `a full disk is detected before LMDB meets it, wherever free room is reported${skipped}`,
  LIMIT,
  async () => {
    using disk = new SmallFolder()
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
    // lmdb-js prints this when it overruns its message buffer.
    expect(producer.errors).not.toMatch(/Write error/)
    await log.close()
  },
)

test.skipIf(no_mount !== undefined)(
  `a read-only file system: reading works, writing fails with the remedy${skipped}`,
  LIMIT,
  async () => {
    using disk = new SmallFolder()
    const log = await openLmdbLog({ dir: disk.dir })
    await log.createTopics([{ name: 't', partitions: 1 }])
    await append(log, 't', 0, numbered(3))
    await log.close()
    expect(disk.remount('ro')).toBeUndefined()
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

test.skipIf(anotherUser.refused !== undefined)(
  `a folder of another user: a clear error${WHY_SKIPPED}`,
  LIMIT,
  async () => {
    await using processes = new Processes()
    const log = await openLmdbLog({ dir: processes.dir })
    await log.createTopics([{ name: 't', partitions: 1 }])
    await append(log, 't', 0, numbered(3))
    chmodSync(processes.dir, 0o755)
    const other = processes.start('attempt', { topic: 't', access: 'write' }, {}, anotherUser.within)
    const { opened } = await other.says((said) => said.opened !== undefined)
    expect(opened).toMatch(
      /LogReadOnlyError: lmdb:.*expected a folder that this user may write.*Change its owner or mode/,
    )
    await log.close()
  },
)

test('a reader that is invisible to writers repeats a read during which a commit happened', LIMIT, async () => {
  await using processes = new Processes()
  const log = await openLmdbLog({ dir: processes.dir })
  await log.createTopics([{ name: 't', partitions: 1 }])
  await append(log, 't', 0, numbered(3))
  await log.close()
  const commit = () => {
    const program = fileURLToPath(new URL('../../../testing/lmdb/process.ts', import.meta.url))
    const made = { topic: 't', name: 'meanwhile', transactions: 1, records: 1, value_bytes: 1 }
    const { status } = spawnSync(process.execPath, [program, 'produce', processes.dir, JSON.stringify(made)])
    expect(status).toBe(0)
  }
  const reader = new Reader(openTables(processes.dir, true, 'flushed'), 'lmdb:log', { unlocked: true })
  const seen: unknown[] = []
  const look = (commits: number) => () => {
    if (seen.length < commits) commit()
    seen.push(reader.topic('t').ends[0])
    if (seen.length <= commits) throw new Error('what a page says that was written over')
    return seen.at(-1)
  }
  expect(reader.steadily(look(2))).toBe(5)
  expect(seen).toHaveLength(3)
  await reader.close()
})

test('a handle opened for reading reads concurrently with a writer and refuses to write', LIMIT, async () => {
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
  'a folder that a newer release wrote is refused, and opening for reading does not create a missing one',
  LIMIT,
  async () => {
    await using processes = new Processes()
    await expect(openLmdbLog({ dir: join(processes.dir, 'none'), access: 'read' })).rejects.toThrow(/found none/)
    const { env, catalog } = openTables(processes.dir, false, 'flushed')
    catalog.putSync(['format'], 99)
    await env.close()
    await expect(openLmdbLog({ dir: processes.dir })).rejects.toThrow(
      /format 3 or older, found 99. A newer release wrote it/,
    )
    await expect(openLmdbLog({ dir: processes.dir, access: 'read' })).rejects.toThrow(/A newer release wrote it/)
  },
)

test(
  'a transaction that LMDB refuses half way leaves nothing behind, and others in the same write succeed',
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
