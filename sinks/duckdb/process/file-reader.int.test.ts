import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { memoryLog } from '../../../infra/log/memory/memory-log.ts'
import { catalogue, views } from '../../../streams/vocabulary.ts'
import { createTopics } from '../../../testing/duckdb/recorded-tower.ts'
import { openDuckDbSink } from '../duckdb-sink.ts'
import { openSql, type SqlSession } from '../sql-client.ts'
import { SqlEndedError, SqlTimeoutError } from '../sql-errors.ts'
import { LEAST_MEMORY } from './memory.ts'

const LIMIT = { timeout: 120_000 }
const folder = mkdtempSync(join(tmpdir(), 'reader-'))
const file = join(folder, 'test.duckdb')

beforeAll(async () => {
  const log = memoryLog()
  await createTopics(log)
  await (await openDuckDbSink({ file, log, catalogue, views })).close()
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function drain(session: SqlSession, sql: string): Promise<void> {
  for await (const _rows of (await session.query(sql)).batches);
}

test(
  'without an owner too, a query has a process that its limits end, and the next session answers',
  LIMIT,
  async () => {
    const greedy = await openSql({ file, memory: LEAST_MEMORY })
    await expect(drain(greedy, 'select range(100000) from range(40000)')).rejects.toThrow(
      /ended the process that has the tables open: it used more than its 0\.5 GiB of memory \(--sql-memory\)/,
    )
    await expect(drain(greedy, 'select 1')).rejects.toThrow(SqlEndedError)
    await greedy.close()
    const hurried = await openSql({ file, memory: 8 * 2 ** 30, time_limit_ms: 300 })
    const began_ms = performance.now()
    await expect(drain(hurried, "select length(printf('%1900000000d', range)) from range(40)")).rejects.toThrow(
      SqlTimeoutError,
    )
    expect(performance.now() - began_ms).toBeLessThan(10_000)
    await hurried.close()
    const session = await openSql({ file })
    await drain(session, 'select 1')
    await session.close()
  },
)

test('a session leaves nothing behind', LIMIT, async () => {
  // Other tests create such folders in the shared temporary folder.
  const own = mkdtempSync(join(tmpdir(), 'reader-'))
  onTestFinished(() => rmSync(own, { recursive: true }))
  vi.stubEnv('TMPDIR', own)
  const session = await openSql({ file })
  expect(readdirSync(own)).toEqual([expect.stringMatching(/^plumbline-sql-/)])
  await session.close()
  vi.unstubAllEnvs()
  expect(readdirSync(own)).toEqual([])
  expect(readdirSync(folder)).toEqual(['test.duckdb'])
})
