import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { openLmdbLog } from '../../infra/log/lmdb/lmdb-log.ts'
import { memoryLog } from '../../infra/log/memory/memory-log.ts'
import { catalogue, views } from '../../streams/vocabulary.ts'
import { append, createTopics } from '../../testing/duckdb/recorded-tower.ts'
import { sqlRows } from '../../testing/sql-rows.ts'
import { openDuckDbSink } from './duckdb-sink.ts'
import { openSql } from './sql-client.ts'

const LOADER = join(import.meta.dirname, '../../testing/duckdb/killed-loader.ts')
const GROUPS = 60

/** Mulberry32: the same kills for the same seed. */
function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

function load(file: string, dir: string, stage: string, count: number): Promise<string> {
  return new Promise((resolve) => {
    execFile(process.execPath, [LOADER, file, dir, stage, String(count)], { timeout: 60_000 }, (_error, out, errors) =>
      resolve(out.trim() || errors),
    )
  })
}

test('a sink that is killed before or after a commit, again and again, neither loses nor duplicates a row', {
  timeout: 240_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'crash-'))
  const dir = join(folder, 'log')
  const file = join(folder, 'test.duckdb')
  try {
    const log = await openLmdbLog({ dir })
    await createTopics(log)
    for (let index = 0; index < GROUPS; index += 1) {
      const group = `g${index}`
      await append(log, (story) => {
        story
          .requested(group, 4)
          .sampled(group, [0, 1, 2, 3])
          .scored(group, [index, 0, 0, -5])
          .formed(group, [index, 0, 0, -5])
        if (index % 7 === 0) story.sampled(group, [0, 1, 2, 3]) // the log holds it twice
        story.read(0, 10_000n).read(1, 10_000n)
      })
    }
    await log.close()

    const random = randomOf(11)
    const kills: string[] = []
    for (let attempt = 0; attempt < 12; attempt += 1) {
      const stage = random() < 0.7 ? 'appended' : 'committed'
      kills.push(await load(file, dir, stage, 1 + Math.floor(random() * 3)))
    }
    expect(kills.filter((outcome) => outcome === 'killed: appended').length).toBeGreaterThan(3)
    expect(kills).toContain('killed: committed')
    expect(existsSync(`${file}.wal`)).toBe(true)

    const reader = await openSql({ file }) // a file whose owner was killed can be queried
    expect(reader.via).toBe('file')
    await reader.close()

    expect(await load(file, dir, 'none', 1)).toBe('finished')
    const session = await openSql({ file })
    const rows: unknown[] = []
    const counts = [
      'rollout.requested',
      'policy.completions_sampled',
      'tower.completions_scored',
      'rollout.group_formed',
    ].map(
      (table) =>
        `SELECT '${table}' AS name, count(*) AS rows, count(DISTINCT (ce_id, "row")) AS different, sum(log_offset)::BIGINT > 0 AS placed FROM ${table}`,
    )
    for await (const batch of (await session.query(counts.join(' UNION ALL '))).batches) rows.push(...batch)
    for await (const batch of (await session.query('SELECT holds, lost FROM funnel_check')).batches) rows.push(...batch)
    await session.close()
    const all = String(GROUPS * 4)
    expect(rows).toEqual([
      ['rollout.requested', String(GROUPS), String(GROUPS), true],
      ['policy.completions_sampled', all, all, true],
      ['tower.completions_scored', all, all, true],
      ['rollout.group_formed', all, all, true],
      [true, '0'],
    ])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

test('a full disk stops the sink with a reason, and with room again it resumes without loss', {
  timeout: 120_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'full-'))
  const dir = join(folder, 'log')
  const file = join(folder, 'test.duckdb')
  try {
    const log = await openLmdbLog({ dir })
    await createTopics(log)
    expect(await load(file, dir, 'none', 1)).toBe('finished')
    const random = randomOf(3)
    const groups = 300
    const noise = () => Array.from({ length: 2000 }, () => random().toString(36).slice(2)).join('')
    for (let first = 0; first < groups; first += 50) {
      await append(log, (story) => {
        for (let index = first; index < first + 50; index += 1) story.requested(`g${index}`, 4, noise())
      })
    }
    await log.close()
    // A limit on file size simulates a full disk: the write fails in the same way, and no other disk is needed.
    const blocks = Math.ceil(statSync(file).size / 1024) + 1024
    const limited = ['-c', `ulimit -f ${blocks}; exec "$@"`, 'bash', process.execPath, LOADER, file, dir, 'none', '1']
    const failed = await promisify(execFile)('bash', limited, { timeout: 60_000 }).catch(
      (error: { stderr: string }) => error,
    )
    expect(failed.stderr).toMatch(/File too large|No space|Could not write|could not be written/i)

    expect(await load(file, dir, 'none', 1)).toBe('finished')
    const counted = await sqlRows({ file }, 'SELECT count(*), count(DISTINCT ce_id) FROM rollout.requested')
    expect(counted).toEqual([[String(groups), String(groups)]])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

test('two processes: the second owner is told the pid of the first, and waits for a reader', {
  timeout: 60_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'owners-'))
  const dir = join(folder, 'log')
  const file = join(folder, 'test.duckdb')
  try {
    const log = await openLmdbLog({ dir })
    await createTopics(log)
    const sink = await openDuckDbSink({ file, log, catalogue, views })
    expect(await load(file, dir, 'none', 1)).toContain(`is owned by process ${process.pid}`)
    await sink.close()

    const reader = await openSql({ file })
    const outcome = load(file, dir, 'none', 1)
    await new Promise((resolve) => setTimeout(resolve, 1500))
    await reader.close()
    expect(await outcome).toBe('finished')
    await log.close()
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

test('a failure is reported once and retried, and nothing is lost', { timeout: 30_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'trouble-'))
  try {
    const log = memoryLog()
    await createTopics(log)
    await append(log, (story) => story.sampled('g1', [0, 1, 2, 3]))
    const messages: string[] = []
    let failures = 2
    const observe = (stage: string) => {
      if (stage !== 'appended' || failures === 0) return
      failures -= 1
      throw new Error('No space left on device')
    }
    const sink = await openDuckDbSink({
      file: join(folder, 'test.duckdb'),
      log,
      catalogue,
      views,
      observe,
      report: (message) => messages.push(message),
    })
    const stop = new AbortController()
    const running = sink.run(stop.signal)
    await expect.poll(async () => sink.lag(), { timeout: 10_000 }).toBe(0n)
    stop.abort()
    await running
    const connection = await sink.connect()
    expect((await connection.runAndReadAll('SELECT count(*) FROM policy.completions_sampled')).getRowsJson()).toEqual([
      ['4'],
    ])
    connection.disconnectSync()
    await sink.close()
    expect(messages).toEqual([expect.stringContaining('No space left on device'), 'the DuckDB sink loads again'])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
