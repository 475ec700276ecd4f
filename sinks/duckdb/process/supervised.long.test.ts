import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openLmdbLog } from '../../../infra/log/lmdb/lmdb-log.ts'
import type { Log } from '../../../infra/log/port/log.ts'
import { append, createTopics } from '../../../testing/duckdb/recorded-tower.ts'
import { sqlRows } from '../../../testing/sql-rows.ts'
import { findOwner } from '../owner-socket.ts'
import { SqlEndedError, SqlTimeoutError } from '../sql-errors.ts'
import { LEAST_MEMORY } from './memory.ts'
import { SupervisedSink } from './supervised-sink.ts'

const LIMIT = { timeout: 240_000 }
const ENTRY = new URL('../../../pipeline/tables-process.ts', import.meta.url)
/** DuckDB builds the whole text in one step, and ignores interrupts meanwhile. */
const STUBBORN = "select length(printf('%1900000000d', range)) from range(40)"
/** Takes all the memory it can, uncounted by DuckDB. */
const GREEDY = 'select range(100000) from range(40000)'

let folder: string
let file: string
let log: Log
let sink: SupervisedSink
let running: Promise<void>
let stop: AbortController
let said: string[]

async function startSink(memory?: number): Promise<void> {
  stop = new AbortController()
  sink = new SupervisedSink({ entry: ENTRY, memory, report: (message) => said.push(message) })
  await sink.open({ file, place: { data: folder, log: log.address }, poll_ms: 20 })
  running = sink.run(stop.signal)
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'supervised-'))
  file = join(folder, 'test.duckdb')
  said = []
  log = await openLmdbLog({ dir: join(folder, 'log') })
  await createTopics(log)
})
afterEach(async () => {
  stop.abort()
  await sink.close()
  await running
  await log.close()
  rmSync(folder, { recursive: true, force: true })
})

const ask = (sql: string, time_limit_ms = 60_000) => sqlRows({ file, time_limit_ms }, sql)

const write = (group: string) =>
  append(log, (story) => story.requested(group, 2).sampled(group, [0, 1]).scored(group, [20, -5]))

const COUNTS = `select count(*)::int, count(distinct (ce_id, "row"))::int from policy.completions_sampled`

/** Waits until a query counts as many rows as the log holds. @returns the time that took, ms */
async function caughtUp(groups: number): Promise<number> {
  const began_ms = performance.now()
  await expect
    .poll(() => ask(COUNTS).catch((cause: Error) => cause.message), { timeout: 60_000, interval: 50 })
    .toEqual([[groups * 2, groups * 2]])
  return performance.now() - began_ms
}

test('a query that takes too much memory costs a restart, and its client is told the limit', LIMIT, async () => {
  await startSink(LEAST_MEMORY)
  await write('before')
  await caughtUp(1)
  const first = sink.pid
  const asked = ask(GREEDY)
  await expect(asked).rejects.toThrow(SqlEndedError)
  await expect(asked).rejects.toThrow(/more than its 0\.5 GiB of memory \(--sql-memory\)/)
  await write('after')
  await caughtUp(2)
  expect(sink.pid).not.toBe(first)
  expect(said).toEqual([
    expect.stringMatching(/has ended: it used more than its 0\.5 GiB.* It is started again, nothing is lost/),
    'the tables are loaded again',
  ])
  expect(sink.health).toMatchObject({ trouble: undefined, restarts: 1, memory_bytes: expect.any(Number) })
})

test('seven long queries at once stop neither loading nor the next answer', LIMIT, async () => {
  await startSink()
  await write('before')
  await caughtUp(1)
  const long = 'select sum(a.range * b.range) from range(10000000) a, range(10000000) b'
  const asked = Array.from({ length: 7 }, () => expect(ask(long, 20_000)).rejects.toThrow(SqlTimeoutError))
  await wait(1_000)
  await write('after')
  expect(await caughtUp(2)).toBeLessThan(15_000)
  await Promise.all(asked)
})

test('the time limit ends a query that DuckDB cannot interrupt', LIMIT, async () => {
  await startSink(8 * 2 ** 30)
  await write('before')
  await caughtUp(1)
  const began_ms = performance.now()
  await expect(ask(STUBBORN, 500)).rejects.toThrow(SqlTimeoutError)
  expect(performance.now() - began_ms).toBeLessThan(10_000)
  await expect.poll(() => sink.health.restarts, { timeout: 30_000 }).toBe(1)
  expect(said[0]).toMatch(/a question went on after its time limit of 0\.5 s, and could not be interrupted/)
  await write('after')
  await caughtUp(2)
})

test(
  'killed ten times while it loads, no row is lost or duplicated, and the lag is gone within ten seconds',
  LIMIT,
  async () => {
    await startSink()
    let groups = 0
    for (let kill = 0; kill < 10; kill += 1) {
      for (let more = 0; more < 5; more += 1) await write(`g${groups++}`)
      await wait(kill * 13)
      if (sink.pid !== undefined) process.kill(sink.pid, 'SIGKILL')
      await write(`g${groups++}`)
      expect(await caughtUp(groups)).toBeLessThan(10_000)
    }
    expect(sink.health.restarts).toBe(10)
    expect(said.filter((message) => message.includes('SIGKILL'))).toHaveLength(10)
  },
)

test('killed while it opens the file, it is restarted', LIMIT, async () => {
  await write('before')
  stop = new AbortController()
  sink = new SupervisedSink({ entry: ENTRY, report: (message) => said.push(message) })
  const opened = sink.open({ file, place: { data: folder, log: log.address }, poll_ms: 20 })
  if (sink.pid === undefined) throw new Error('expected a process that opens the file')
  process.kill(sink.pid, 'SIGKILL')
  await opened
  running = sink.run(stop.signal)
  await caughtUp(1)
  expect(said).toEqual([
    expect.stringMatching(/has ended: it got SIGKILL.* It is started again, nothing is lost/),
    'the tables are loaded again',
  ])
})

test('it is found as the owner while it runs, and closed it leaves neither socket nor note', LIMIT, async () => {
  await startSink()
  await write('g')
  await caughtUp(1)
  const owner = await findOwner(file)
  expect(owner).toMatchObject({ pid: sink.pid, started_by: process.pid })
  stop.abort()
  await running
  await sink.close()
  expect(await findOwner(file)).toBeUndefined()
  expect(() => readFileSync(`${file}.owner`)).toThrow('ENOENT')
})

test(
  'a failure that no restart can fix ends the run with its own error: another log than the file was loaded from',
  LIMIT,
  async () => {
    await startSink()
    await write('g')
    await caughtUp(1)
    stop.abort()
    await running
    await sink.close()
    const other = await openLmdbLog({ dir: join(folder, 'other') })
    await createTopics(other)
    sink = new SupervisedSink({ entry: ENTRY, report: (message) => said.push(message) })
    const place = { data: folder, log: other.address }
    await sink.open({ file, place, poll_ms: 20 })
    await expect(sink.run(new AbortController().signal)).rejects.toMatchObject({
      name: 'WrongLogError',
      retry: 'never',
    })
    expect(sink.health.restarts).toBe(0)
    running = Promise.resolve()
    await other.close()
  },
)

test(
  'a process that ends eight times in a row before it has opened its file is given up, with a message',
  LIMIT,
  async () => {
    await startSink()
    const ended = running.then(
      () => undefined,
      (cause: unknown) => cause,
    )
    running = Promise.resolve()
    const killed = new Set<number>()
    for (let over = false; !over; ) {
      const { pid } = sink
      if (pid !== undefined && !killed.has(pid)) {
        process.kill(pid, 'SIGKILL')
        killed.add(pid)
      }
      over = await Promise.race([ended.then(() => true), wait(10, false)])
    }
    expect(await ended).toMatchObject({
      name: 'DatabaseDamagedError',
      retry: 'never',
      message: expect.stringMatching(
        /test\.duckdb.*8 processes that ended while they opened it, the last one because .*SIGKILL/,
      ),
    })
    // The first had opened the file.
    expect(killed.size).toBe(9)
  },
)
