import { readdirSync, statSync } from 'node:fs'
import { rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { rolloutRequested } from '../../schemas/events/rollout.ts'
import { decodeEvent } from '../../schemas/wire/codec.ts'
import { vocabulary } from '../../streams/vocabulary.ts'
import { Scraper, typePage } from '../../testing/scraper.ts'
import { eventually, plumbline, plumblineOk, sharedFolder, sql, start } from '../../tests/cli/plumbline.ts'
import { readLog, recordsOf } from '../../tests/cli/whole-log.ts'

/** Completions so long that their tokens are blobs: how a blob outage affects the tables, and how they recover. */

const LIMIT = { timeout: 300_000 }
const PATIENCE_MS = 90_000
const GROUPS = 4
const COMPLETIONS = 2 * GROUPS

let cwd = ''
const data = () => join(cwd, 'data')
const file = (name: string) => join(data(), name)
const run = (...more: string[]) =>
  plumbline(['run', '--until-idle', '--policy', 'recorded(long.jsonl)', ...more], { cwd })
const loaded = async () => {
  const [row] = await sql<{ n: number; tokens: number }>(
    'select count(*)::int as n, sum(len(token_ids))::int as tokens from policy.completions_sampled',
    { cwd },
  )
  return row
}
const ALL = { n: COMPLETIONS, tokens: COMPLETIONS * 20_000 }

beforeAll(async () => {
  cwd = await sharedFolder()
  const tower = ['--dataset', 'top_block', '--task', 'x_only', '--seed', '7', '--group-size', '2']
  await plumblineOk(['generate', 'tower', ...tower, '--scenes', `${GROUPS}`], { cwd })
  const groups = await readLog(file('log'), async (log) =>
    (await recordsOf(log, rolloutRequested.type)).map((record) => decodeEvent(record, vocabulary).key),
  )
  const token_ids = Array.from({ length: 20_000 }, (_, index) => index)
  const lines = groups.flatMap((group_id, group) =>
    [0, 1].map((completion_index) => ({
      group_id,
      completion_index,
      text: `<answer>${completion_index}</answer>`,
      token_ids: token_ids.map((id) => id + 10 * group + completion_index),
    })),
  )
  await writeFile(join(cwd, 'long.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
})

test(
  'a blob outage: the run fails with a message and skips no record; the next one loads all rows',
  LIMIT,
  async () => {
    const computed = await run('--no-sink')
    expect(computed, computed.stderr).toMatchObject({ code: 0 })
    await rename(file('blobs'), file('blobs-away'))
    const away = await run()
    expect(away).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/completions_sampled partition \d offset \d+.*is it mounted\?/),
    })
    expect(await sql('select * from internal.unreadable', { cwd })).toEqual([])
    expect(await plumblineOk(['dlq', 'list'], { cwd })).toBe('no dead letters\n')
    expect(readdirSync(data())).not.toContain('blobs')
    await rename(file('blobs-away'), file('blobs'))
    const back = await run()
    expect(back, back.stderr).toMatchObject({ code: 0 })
    expect(await loaded()).toEqual(ALL)
    expect(await plumblineOk(['verify'], { cwd })).toContain('verify: passed')
  },
)

test(
  'a missing blob: the record is listed, counted and alerted on, and loaded when the blob is back',
  LIMIT,
  async () => {
    await rm(file('plumbline.duckdb'))
    const blob = largest(file('blobs'))
    const kept = join(cwd, 'kept')
    await rename(blob, kept)
    const first = await run()
    expect(first.stderr).toMatch(
      /duckdb: cannot read \d+ records?, which (is|are) in no table.*dlq list --processor duckdb/,
    )
    expect(first.code).toBe(0)
    const running = start(['run', '--policy', 'recorded(long.jsonl)', '--metrics', '127.0.0.1:0'], { cwd })
    const scraper = await Scraper.of(running)
    await scraper.until('PlumblineUnreadableRecords', ['duckdb'], PATIENCE_MS)
    const page = await typePage('docs/runbook/unreadable-records.md', scraper, { cwd })
    expect(page).toMatch(/policy\.completions_sampled\/\d\/\d+ +duckdb +unreadable .*blob [0-9a-f]{64}/)
    expect(page).toMatch(/: the run that loads reads it again by itself within a minute; now: blob/)
    await rename(kept, blob)
    await scraper.over('PlumblineUnreadableRecords', PATIENCE_MS)
    await eventually(async () => (await loaded())?.tokens === ALL.tokens, PATIENCE_MS)
    running.child.kill('SIGTERM')
    await running.ended
    expect(await loaded()).toEqual(ALL)
  },
)

test('while no run is active, dlq retry loads records that have become readable', LIMIT, async () => {
  await rm(file('plumbline.duckdb'))
  const blob = largest(file('blobs'))
  await rename(blob, join(cwd, 'kept'))
  await run()
  const refused = await plumbline(['dlq', 'retry', '--all'], { cwd })
  expect(refused.stdout).toMatch(/^(\S+\/\d\/\d+ of duckdb: refused: blob .*\n)+$/)
  await rename(join(cwd, 'kept'), blob)
  expect(await plumblineOk(['dlq', 'retry', '--all'], { cwd })).toMatch(/^(\S+\/\d\/\d+ of duckdb: loaded\n)+$/)
  expect(await plumblineOk(['dlq', 'list'], { cwd })).toBe('no dead letters\n')
  expect(await loaded()).toEqual(ALL)
})

/** The largest blob. It holds tokens of completions: snapshots and pictures are smaller. */
function largest(root: string): string {
  const files = (readdirSync(root, { recursive: true }) as string[]).map((name) => join(root, name))
  const [first] = files.filter((name) => statSync(name).isFile()).sort((a, b) => statSync(b).size - statSync(a).size)
  return String(first)
}
