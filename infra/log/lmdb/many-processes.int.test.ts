import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type Child, Processes, type Said } from '../../../testing/lmdb/processes.ts'
import { numbered, record, values } from '../conformance/steps.ts'
import { LogBusyError } from '../port/log.ts'
import { openLmdbLog } from './lmdb-log.ts'

const LIMIT = { timeout: 120_000 }

/** The number of records of each producer and transaction. */
function transactions(found: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const value of found) {
    const [name, i] = value.split(':')
    counts.set(`${name}:${i}`, (counts.get(`${name}:${i}`) ?? 0) + 1)
  }
  return counts
}

function gained(...partitions: number[]): (said: Said) => boolean {
  return (said) => Array.isArray(said.gained) && said.gained.join() === partitions.join()
}

/** A topic, workers that copy it to another one, and the values of both. */
async function copying(processes: Processes) {
  const log = await openLmdbLog({ dir: processes.dir })
  await log.createTopics([
    { name: 't', partitions: 2 },
    { name: 'out', partitions: 1 },
  ])
  const producer = await log.producer({ transactional_id: 'inputs' })
  let written = 0
  return {
    log,
    work: () => processes.start('work', { topic: 't', output: 'out', group: 'g', session_timeout_ms: 1_500 }),
    write: async (count: number) => {
      const transaction = producer.begin()
      for (let i = 0; i < count; i += 1, written += 1) transaction.append('t', written % 2, record(`x${written}`))
      await transaction.commit()
    },
    copied: async () => (await values(log, 'out', 0)).sort(),
    inputs: async () => [...(await values(log, 't', 0)), ...(await values(log, 't', 1))].sort(),
  }
}

test(
  'producers in several processes append to one partition, concurrently with a reader: nothing lost, in order',
  LIMIT,
  async () => {
    await using processes = new Processes()
    const log = await openLmdbLog({ dir: processes.dir })
    await log.createTopics([{ name: 't', partitions: 2 }])
    const names = ['a', 'b', 'c']
    const producers = names.map((name) =>
      processes.start('produce', { topic: 't', name, transactions: 60, records: 10, value_bytes: 100 }),
    )
    const member = await log.join({ group: 'reader', topics: ['t'], session_timeout_ms: 10_000 })
    let seen = 0
    const deadline_ms = performance.now() + 90_000
    while (seen < 3 * 60 * 10) {
      seen += (await member.poll({ max_bytes: 1e5, wait_ms: 5_000 })).records.length
      if (performance.now() < deadline_ms) continue
      const written = [...(await values(log, 't', 0)), ...(await values(log, 't', 1))].length
      const said = producers.map(({ said, errors }) => `${JSON.stringify(said.at(-1))} ${errors}`)
      expect.fail(`the reader saw ${seen} of ${written} records; the producers said last ${said.join('; ')}`)
    }
    for (const producer of producers) expect(await producer.exited, producer.errors).toBe(0)
    for (const partition of [0, 1]) {
      const found = (await values(log, 't', partition)).map((value) => value.trim())
      for (const name of names) {
        const expected = Array.from({ length: 60 }, (_, i) =>
          numbered(10, `${name}:${i}:`).filter((_, k) => k % 2 === partition),
        )
        expect(found.filter((value) => value.startsWith(name))).toEqual(expected.flat())
      }
    }
    await log.close()
  },
)

test(
  'a producer killed at any moment leaves whole transactions, and every one that was acknowledged',
  LIMIT,
  async () => {
    await using processes = new Processes()
    const log = await openLmdbLog({ dir: processes.dir })
    await log.createTopics([{ name: 't', partitions: 2 }])
    const acknowledged = new Set<string>()
    for (let kill = 0; kill < 8; kill += 1) {
      const name = `k${kill}`
      const producer = processes.start('produce', {
        topic: 't',
        name,
        transactions: 1e6,
        records: 40,
        value_bytes: 3_000,
      })
      await producer.says((said) => said.committed === kill)
      await sleep(kill * 0.7)
      await producer.end()
      for (const { committed } of producer.said) if (committed !== undefined) acknowledged.add(`${name}:${committed}`)
    }
    const found = transactions([...(await values(log, 't', 0)), ...(await values(log, 't', 1))])
    expect([...found].filter(([, count]) => count !== 40)).toEqual([])
    expect([...acknowledged].filter((one) => !found.has(one))).toEqual([])
    await log.close()
  },
)

test('killed inside the write transaction: nothing of it is visible, and others write at once', LIMIT, async () => {
  await using processes = new Processes()
  const log = await openLmdbLog({ dir: processes.dir })
  await log.createTopics([{ name: 't', partitions: 2 }])
  await processes.start('inside', { topic: 't', signal: 'SIGKILL', when: 'before commit' }).exited
  const producer = await log.producer({ transactional_id: 'p' })
  const transaction = producer.begin()
  transaction.append('t', 0, { key: null, headers: [], value: Buffer.from('after') })
  await transaction.commit()
  expect([await values(log, 't', 0), await values(log, 't', 1), await log.committed('inside')]).toEqual([
    ['after'],
    [],
    [],
  ])
  await log.close()
})

test('killed after the commit and before its acknowledgement: all of it is visible', LIMIT, async () => {
  await using processes = new Processes()
  const log = await openLmdbLog({ dir: processes.dir })
  await log.createTopics([{ name: 't', partitions: 2 }])
  await processes.start('inside', { topic: 't', signal: 'SIGKILL', when: 'after commit' }).exited
  for (const partition of [0, 1]) expect(await values(log, 't', partition)).toEqual(numbered(50, 'inside:0:'))
  expect(await log.committed('inside')).toEqual([{ topic: 't', partition: 0, next: 50n }])
  await log.close()
})

test('the partitions of a killed worker are taken over after its session: every input copied once', LIMIT, async () => {
  await using processes = new Processes()
  const { log, work, write, copied, inputs } = await copying(processes)
  const first = work()
  await first.says(gained(0, 1))
  await write(20)
  await first.says((said) => said.copied !== undefined)
  const second = work()
  await second.says(gained(1))
  await write(20)
  await second.says((said) => said.copied !== undefined)
  await write(20)
  await first.end()
  await write(20)
  await second.says(gained(0))
  await expect.poll(copied, { timeout: 30_000 }).toEqual(await inputs())
  await log.close()
})

test(
  'a worker stopped past its lease is fenced when it resumes, and continues with what it owns then',
  LIMIT,
  async () => {
    await using processes = new Processes()
    const { log, work, write, copied, inputs } = await copying(processes)
    const first = work()
    await first.says(gained(0, 1))
    await write(200)
    await first.says((said) => said.copied !== undefined)
    await stopOutsideWrites(first, processes.dir)
    const second = work()
    // It gains them one after the other, or both at once if it took longer to start than the lease lasts.
    await second.says(() => new Set(second.said.flatMap(({ gained = [] }) => gained as number[])).size === 2)
    await write(50)
    await second.says((said) => said.copied !== undefined)
    first.signal('SIGCONT')
    await first.says((said) => said.fenced !== undefined || (said.lost as number[] | undefined)?.length === 2)
    await write(50)
    await expect.poll(copied, { timeout: 30_000 }).toEqual(await inputs())
    await sleep(300)
    expect(await copied()).toEqual(await inputs())
    await log.close()
  },
)

test(
  'a process stopped inside a write transaction: reads continue, writes report the lock’s owner, and continue after it',
  LIMIT,
  async () => {
    await using processes = new Processes()
    const log = await openLmdbLog({ dir: processes.dir, lock_wait_ms: 400 })
    await log.createTopics([{ name: 't', partitions: 2 }])
    const holder = processes.start('inside', { topic: 't', signal: 'SIGSTOP', when: 'before commit' })
    const state = () => readFileSync(`/proc/${holder.pid}/stat`, 'utf8')
    await expect.poll(state, { timeout: 30_000 }).toMatch(/\) T /)
    const write = async () => {
      const producer = await log.producer({ transactional_id: 'p' })
      const transaction = producer.begin()
      transaction.append('t', 0, { key: null, headers: [], value: Buffer.from('after') })
      await transaction.commit()
    }
    let turns = 0
    const ticking = setInterval(() => (turns += 1), 10)
    const message = new RegExp(
      `lmdb:.*: waited 0\\.\\d s for the write lock, which process ${holder.pid} .*stopped.*kill -CONT`,
    )
    await expect(write()).rejects.toThrow(message)
    clearInterval(ticking)
    expect(turns, 'turns of the event loop while a write waited').toBeGreaterThan(10)
    expect(await values(log, 't', 0)).toEqual([])
    const late = processes.start('attempt', { topic: 't', access: 'write', lock_wait_ms: 400 })
    expect((await late.says((said) => said.opened !== undefined)).opened).toMatch(message)
    expect(await late.exited).toBe(0)
    holder.signal('SIGCONT')
    await holder.says((said) => said.went_on === true)
    await write()
    expect(await values(log, 't', 0)).toEqual([...numbered(50, 'inside:0:'), 'after'])
    await log.close()
  },
)

test('a process that closes the log during a write exits', LIMIT, async () => {
  await using processes = new Processes()
  const child = processes.start('close early', {})
  expect(await child.exited, child.errors).toBe(0)
  expect(child.said).toEqual([{ closed: true }])
})

/** Stops a worker outside its writes: inside one it would hold the lock, and no other could take over. */
async function stopOutsideWrites(worker: Child, dir: string): Promise<void> {
  const log = await openLmdbLog({ dir, lock_wait_ms: 300 })
  for (let stopped = false; !stopped; ) {
    worker.signal('SIGSTOP')
    try {
      const producer = await log.producer({ transactional_id: 'whether the lock is free' })
      await producer.close()
      stopped = true
    } catch (error) {
      if (!(error instanceof LogBusyError)) throw error
      worker.signal('SIGCONT')
    }
  }
  await log.close()
}
