import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { beforeAll, expect, test } from 'vitest'
import { eventually, plumbline, plumblineOk, sharedFolder, sql, start } from './plumbline.ts'
import { everythingEmitted, readLog, recordsOf, withLog } from './whole-log.ts'

let cwd = ''
const SCENES = 24
const log = (data: string) => join(cwd, data, 'log')
const counted = 'select count(*)::int as n, round(sum(reward), 9) as reward from rewards'

beforeAll(async () => {
  cwd = await sharedFolder()
  const seed = ['--scenes', String(SCENES), '--seed', '3', '--group-size', '4']
  await plumblineOk(['generate', 'tower', '--dataset', 'side_block', '--task', 'x_y', ...seed], { cwd })
  await plumblineOk(['run', '--until-idle', '--policy', 'noisy-oracle(150)'], { cwd })
})

const blobsOf = (data: string) => (readdirSync(join(cwd, data, 'blobs'), { recursive: true }) as string[]).sort()
const images = (data: string) => blobsOf(data).filter((name) => readFileSafe(join(cwd, data, 'blobs', name)))
const readFileSafe = (file: string) => {
  try {
    return readFileSync(file).subarray(1, 4).toString() === 'PNG'
  } catch {
    return false
  }
}

test('the copy has the same events and every blob, passes verify, and continues without computing anything twice', async () => {
  const { records, complete } = JSON.parse(await plumblineOk(['replay', '--to', 'copy', '--json'], { cwd }))
  expect([records > 0, complete]).toEqual([true, true])
  expect(await everythingEmitted(log('copy'))).toEqual(await everythingEmitted(log('data')))
  expect(images('copy')).toEqual(images('data'))
  const verified = JSON.parse(await plumblineOk(['--data', 'copy', 'verify', '--json'], { cwd }))
  expect(verified.passed).toBe(true)
  expect(verified.reports.every((report: { rebuilt: number }) => report.rebuilt === SCENES)).toBe(true)
  const before = await everythingEmitted(log('copy'))
  await plumblineOk(['--data', 'copy', 'run', '--until-idle'], { cwd })
  expect(await everythingEmitted(log('copy'))).toEqual(before)
  const again = await plumbline(['replay', '--to', 'copy'], { cwd })
  expect([again.code, again.stderr]).toEqual([2, expect.stringContaining('has been at work')])
})

test('the order of each partition is kept, journals and changelogs too', async () => {
  await plumblineOk(['replay', '--as', 'ordered'], { cwd })
  const sayings = (dir: string) =>
    readLog(dir, async (opened) => {
      const emitted: string[] = []
      for (const { name } of await opened.topics()) {
        if (name === '_snapshots') continue
        for (const { topic, partition, key, value } of await recordsOf(opened, name)) {
          emitted.push(`${topic}/${partition} ${key} ${value === null ? null : Buffer.from(value).toString('base64')}`)
        }
      }
      return emitted
    })
  expect(await sayings(log('data/replays/ordered'))).toEqual(await sayings(log('data')))
  // Replaying it again adds nothing.
  const again = JSON.parse(await plumblineOk(['replay', '--as', 'ordered', '--json'], { cwd }))
  expect(again).toMatchObject({ records: 0, complete: true })
})

test('a killed replay resumes where it stopped, and each record is written once', async () => {
  // 24 s of events, a second apart: a few seconds at this speed.
  const args = ['replay', '--to', 'killed', '--speed', '8']
  for (let kill = 0; kill < 3; kill++) {
    const running = start(args, { cwd })
    const before = await countIn('killed')
    await eventually(async () => (await countIn('killed')) > before)
    running.child.kill('SIGKILL')
    expect((await running.ended).signal).toBe('SIGKILL')
  }
  expect(await countIn('killed')).toBeLessThan(await countIn('data'))
  await plumblineOk(args, { cwd })
  expect(await everythingEmitted(log('killed'))).toEqual(await everythingEmitted(log('data')))
  expect(await plumblineOk(['--data', 'killed', 'verify'], { cwd })).toContain('verify: passed')
})

const countIn = async (data: string) => (await everythingEmitted(log(data)).catch(() => [])).length

test('it keeps the original spacing at the given speed, pauses between transactions, and resumes', async () => {
  const running = start(['replay', '--to', 'paused', '--speed', '6', '--sources-only'], { cwd })
  const began = performance.now()
  await eventually(async () => (await countIn('paused')) >= 6)
  running.child.kill('SIGTSTP')
  await eventually(() => /State:\tT/.test(readFileSync(`/proc/${running.pid}/status`, 'utf8')))
  const held = await countIn('paused')
  await wait(1_500)
  // Another process can write meanwhile: no lock is held.
  await withLog(log('paused'), (opened) => opened.producer({ transactional_id: 'other' }).then((it) => it.close()))
  expect(await countIn('paused')).toBe(held)
  running.child.kill('SIGCONT')
  const { code, stderr } = await running.ended
  expect(code).toBe(0)
  expect(stderr).toMatch(/paused.*\n.*going on/)
  // 23 s between the first and the last scene, at six times the speed, and the pause on top.
  expect(performance.now() - began).toBeGreaterThan(23_000 / 6 + 1_400)
  expect(await countIn('paused')).toBe(2 * SCENES)
})

test('sources only, and run computes the same values again', async () => {
  await plumblineOk(['replay', '--to', 'sources', '--sources-only'], { cwd })
  await plumblineOk(['--data', 'sources', 'run', '--until-idle', '--policy', 'noisy-oracle(150)'], { cwd })
  expect(await plumblineOk(['--data', 'sources', 'verify'], { cwd })).toContain('verify: passed')
  const env = { PLUMBLINE_DATA: join(cwd, 'sources') }
  expect(await sql(counted, { cwd, env })).toEqual(await sql(counted, { cwd }))
})

test('a part: by key, by time, by offset', async () => {
  const events = async (data: string) =>
    (await everythingEmitted(log(data))).map((text) => JSON.parse(text) as [string, number, string])
  const [, , key] = (await events('data')).find(([topic]) => topic === 'rollout.requested') as [string, number, string]
  await plumblineOk(['replay', '--to', 'one', '--group', key], { cwd })
  expect((await events('one')).map(([topic, , of]) => [topic, of])).toEqual([['rollout.requested', key]])
  await plumblineOk(['replay', '--to', 'late', '--from-time', '2026-01-01T00:00:20Z'], { cwd })
  expect(await events('late')).toHaveLength(2 * (SCENES - 20))
  await plumblineOk(['replay', '--to', 'rest', '--from-offset', '{"rollout.requested": [3, 3, 3, 3]}'], { cwd })
  const requested = (all: [string, number, string][]) => all.filter(([topic]) => topic === 'rollout.requested')
  const skipped = requested(await events('data')).length - requested(await events('rest')).length
  expect(skipped).toBeGreaterThan(6)
  expect((await events('rest')).length).toBe(2 * SCENES - skipped)
})

test('a replay into the log itself, or where other records are, is refused and changes nothing', async () => {
  expect(await plumbline(['replay', '--to', 'data'], { cwd })).toMatchObject({ code: 2 })
  const other = ['--scenes', '1', '--seed', '9']
  await plumblineOk(['--data', 'other', 'generate', 'tower', '--dataset', 'top_block', '--task', 'x_only', ...other], {
    cwd,
  })
  const before = await everythingEmitted(log('other'))
  const refused = await plumbline(['replay', '--to', 'other'], { cwd })
  expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('holds records')])
  expect(await everythingEmitted(log('other'))).toEqual(before)
})

test('--as names a folder next to the log, however the log is named; for Kafka there is none', async () => {
  await plumblineOk(['replay', '--from', `lmdb:${log('data')}`, '--as', 'again'], { cwd })
  expect(await everythingEmitted(log('data/replays/again'))).toEqual(await everythingEmitted(log('data')))
  const refused = await plumbline(['replay', '--from', 'kafka://127.0.0.1:9', '--as', 'again'], { cwd })
  expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('name a place with --to')])
  expect(readdirSync(cwd).filter((name) => name.includes(':'))).toEqual([])
})
