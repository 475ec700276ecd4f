import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { partitionOf } from '../../schemas/wire/routing.ts'
import { findOwner } from '../../sinks/duckdb/owner-socket.ts'
import { DEFAULTS, topology } from '../../streams/topology.ts'
import { alertRules } from '../../testing/alert-rules.ts'
import { ChatServer } from '../../testing/chat-server.ts'
import { Scraper, typePage } from '../../testing/scraper.ts'
import { SmallDisk } from '../../testing/small-disk.ts'
import { eventually, plumblineOk, type Running, sharedFolder, sql, start } from '../../tests/cli/plumbline.ts'
import { recordsOf, withLog } from '../../tests/cli/whole-log.ts'

const LIMIT = { timeout: 400_000 }
const PATIENCE_MS = 120_000

const generate = (scenes: number, cwd: string) => {
  const tower = ['--dataset', 'top_block', '--task', 'x_only', '--seed', '7', '--group-size', '2']
  return plumblineOk(['generate', 'tower', ...tower, '--scenes', `${scenes}`], { cwd })
}

async function end(running: Running, signal: NodeJS.Signals): Promise<void> {
  running.child.kill(signal)
  await running.ended
}

test('every alert has a page that names it and the metrics that its expression reads; every page has an alert', () => {
  const rules = alertRules()
  const pages = readdirSync(new URL('.', import.meta.url)).filter((name) => name.endsWith('.md'))
  expect(rules.map(({ runbook }) => runbook).sort()).toEqual(pages.map((page) => `docs/runbook/${page}`).sort())
  for (const { alert, runbook } of rules) {
    const text = readFileSync(new URL(`../../${runbook}`, import.meta.url), 'utf8')
    expect(text.split('\n')[0]).toBe(`# ${alert}`)
    for (const part of ['**What it costs.**', '**How to look.**', '**What to do.**', '**It is over**']) {
      expect(text, runbook).toContain(part)
    }
  }
})

test('every metric that an alert reads is exported by a run, from its first scrape on', LIMIT, async () => {
  const cwd = await sharedFolder()
  await generate(1, cwd)
  const running = start(['run', '--metrics', '127.0.0.1:0'], { cwd })
  const { samples } = await (await Scraper.of(running)).scrape()
  for (const { expr, conditions } of alertRules()) {
    for (const { metric, matchers } of conditions.filter(({ metric }) => metric !== 'up')) {
      const series = samples.filter(
        ({ name, labels }) =>
          name === metric && matchers.every(({ label, equal, value }) => (labels[label] === value) === equal),
      )
      expect(series, expr).not.toEqual([])
    }
  }
  await end(running, 'SIGTERM')
})

test(
  'an unavailable model: the stage retries, lag grows, groups expire; a foreign record: dead letters',
  LIMIT,
  async () => {
    const cwd = await sharedFolder()
    const away = await ChatServer.start()
    const { port, url } = away
    await away.stop()
    await generate(450, cwd)
    const model = ['--policy', `openai(${url}, m)`, '--concurrency', '64']
    const running = start(['run', ...model, '--metrics', '127.0.0.1:0'], { cwd })
    const scraper = await Scraper.of(running)

    await scraper.until('PlumblineStageRetrying', ['sample-completions'], PATIENCE_MS)
    expect(await typePage('docs/runbook/stage-retrying.md', scraper, { cwd })).toMatch(
      /^503 .*"sample-completions":".*nothing listens there/m,
    )

    // The first requests were read at once. Now the stage is full, so new requests add to its lag.
    await generate(600, cwd)
    await eventually(async () => (await scraper.lagOf('sample-completions')) > 0, PATIENCE_MS)
    scraper.forget()
    await scraper.scrape()
    await generate(800, cwd)
    await scraper.until('PlumblineLagGrows', ['sample-completions'], PATIENCE_MS)
    const lag = await typePage('docs/runbook/lag-grows.md', scraper, { cwd })
    expect(lag).toMatch(/^sample-completions +\d +[1-9]\d* /m)

    await appendStrangers(join(cwd, 'data', 'log'))
    // sample-completions is full, so it reads that record only when the model is back.
    await scraper.until('PlumblineDeadLetters', ['form-groups', 'score-completions'], PATIENCE_MS)
    const letters = await typePage('docs/runbook/dead-letters.md', scraper, { cwd })
    expect(letters).toContain('poison')
    expect(letters).toMatch(/1: refused: the record itself is wrong/)
    await scraper.until('PlumblineGroupsExpire', ['form-groups'], PATIENCE_MS)
    expect(await typePage('docs/runbook/groups-expire.md', scraper, { cwd })).toMatch(
      /rollout\.group_expired +p\d@0 +key asked-in-haste/,
    )

    const back = await ChatServer.start({ port })
    await scraper.over('PlumblineStageRetrying', PATIENCE_MS)
    await eventually(async () => (await scraper.lagOf('sample-completions')) === 0, PATIENCE_MS)
    scraper.forget()
    for (let look = 0; look < 3; look += 1) await scraper.scrape()
    for (const alert of ['PlumblineDeadLetters', 'PlumblineGroupsExpire'])
      expect(scraper.firing(alert), alert).toEqual([])
    // The sink runs in a separate process and catches up last.
    await scraper.over('PlumblineLagGrows', PATIENCE_MS)
    await end(running, 'SIGTERM')
    await back.stop()
  },
)

/** Appends a record that is not an event, and a request whose deadline is now, so that it must expire. */
async function appendStrangers(dir: string): Promise<void> {
  await withLog(dir, async (log) => {
    const [request] = await recordsOf(log, 'rollout.requested')
    if (request?.value == null) throw new Error('expected a request')
    const key = 'asked-in-haste'
    const now = new Date().toISOString()
    const own = {
      ce_id: 'in-haste',
      ce_source: '/a/test',
      ce_partitionkey: key,
      ce_subject: key,
      ce_time: now,
      ce_clock: 'wall',
    }
    const headers = request.headers
      .filter(({ name }) => name !== 'ce_causationid')
      .map(({ name, value }) => ({ name, value: own[name as keyof typeof own] ?? value }))
    const data = {
      ...JSON.parse(Buffer.from(request.value).toString()),
      group_id: key,
      deadline: { clock: 'wall', time: now },
    }
    const producer = await log.producer({ transactional_id: 'a stranger' })
    const transaction = producer.begin()
    transaction.append('rollout.requested', 0, { key: 'k', headers: [], value: Buffer.from('{"not": "an event"}') })
    const value = Buffer.from(JSON.stringify(data))
    transaction.append('rollout.requested', partitionOf(key, 4), { key, headers, value })
    await transaction.commit()
    await producer.close()
  })
}

test('a full disk under the tables: the sink fails, others continue; a kill loses nothing', LIMIT, async ({ skip }) => {
  const cwd = await sharedFolder()
  using disk = new SmallDisk(join(cwd, 'data'), '24m')
  if (disk.refused !== undefined) return skip(`mounting a small file system needs root: ${disk.refused}`)
  const place = { cwd, env: { PLUMBLINE_LOG: `lmdb:${join(cwd, 'log')}` } }
  const tower = ['--dataset', 'top_block', '--task', 'x_only', '--seed', '7', '--group-size', '2']
  const ask = (scenes: string) =>
    plumblineOk(['--data', 'elsewhere', 'generate', 'tower', ...tower, '--scenes', scenes], place)
  await ask('4')
  const run = ['run', '--policy', 'random-legal', '--metrics', '127.0.0.1:0']
  const running = start(run, place)
  const scraper = await Scraper.of(running)
  await eventually(() => scraper.isReady(), PATIENCE_MS)
  await eventually(async () => (await scraper.lagOf('duckdb')) === 0, PATIENCE_MS)
  const filler = join(disk.dir, 'filler')
  expect(() => writeFileSync(filler, Buffer.alloc(32 * 2 ** 20))).toThrow(/ENOSPC/)
  await ask('40')
  await scraper.until('PlumblineSinkFailing', ['duckdb'], PATIENCE_MS)
  expect(await typePage('docs/runbook/sink-failing.md', scraper, place, /sql|lag/)).toMatch(/^503 .*"duckdb":/m)
  await eventually(
    async () => (await scraper.valuesOf('plumbline_events_total', 'form-groups')).includes(40),
    PATIENCE_MS,
  )

  rmSync(filler)
  await scraper.over('PlumblineSinkFailing', PATIENCE_MS)
  expect(await typePage('docs/runbook/sink-failing.md', scraper, place)).toMatch(/^200 .*"ok"[\s\S]*true/m)

  await end(running, 'SIGKILL')
  await scraper.until('PlumblineDown', [''], PATIENCE_MS)
  const again = start(run, place)
  const healed = await Scraper.of(again)
  await eventually(() => healed.isReady(), PATIENCE_MS)
  await healed.over('PlumblineDown', PATIENCE_MS)
  expect(await typePage('docs/runbook/down.md', healed, place, /\.\/plumbline run/)).toContain('200 {"status":"ready"')
  const groups = () => sql<{ n: number }>('select count(*)::int as n from groups', place)
  await eventually(async () => (await groups())[0]?.n === 40, PATIENCE_MS)
  expect(await sql('select holds from funnel_check', place)).toEqual([{ holds: true }])
  await end(again, 'SIGTERM')
})

test(
  'queries or a person repeatedly end the process that owns the tables: it is restarted each time',
  LIMIT,
  async () => {
    const cwd = await sharedFolder()
    const running = start(['run', '--metrics', '127.0.0.1:0'], { cwd })
    const scraper = await Scraper.of(running)
    await scraper.scrape()
    for (let kill = 1; kill <= 4; kill += 1) {
      await eventually(async () => {
        const owner = await findOwner(join(cwd, 'data', 'plumbline.duckdb'))
        return owner && process.kill(owner.pid, 'SIGKILL')
      }, PATIENCE_MS)
      await eventually(async () => (await scraper.valuesOf('plumbline_restarts_total')).includes(kill), PATIENCE_MS)
    }
    await scraper.until('PlumblineTablesRestart', ['duckdb'], PATIENCE_MS)
    const look = await typePage('docs/runbook/tables-restart.md', scraper, { cwd }, /lag/)
    expect(look).toContain('plumbline_restarts_total{stage="duckdb"} 4')
    expect(look).toMatch(/plumbline_stage_memory_bytes\{stage="duckdb"\} \d{7,}/)
    scraper.forget()
    for (let times = 0; times < 3; times += 1) await scraper.scrape()
    expect(scraper.firing('PlumblineTablesRestart')).toEqual([])
    expect(await typePage('docs/runbook/tables-restart.md', scraper, { cwd }, /metrics/)).toMatch(/duckdb/)
    await end(running, 'SIGTERM')
  },
)

test('a process paused for longer than its session: its partitions move, and it is fenced', LIMIT, async () => {
  const cwd = await sharedFolder()
  await generate(4, cwd)
  const policy = ['--policy', 'random-legal']
  const running = start(['run', ...policy, '--metrics', '127.0.0.1:0'], { cwd })
  const scraper = await Scraper.of(running)
  await eventually(() => scraper.isReady(), PATIENCE_MS)
  await scraper.scrape()
  const beside = start(['run', ...policy, '--no-sink', '--metrics', '127.0.0.1:0'], { cwd })
  const other = await Scraper.of(beside)
  const restored = async (n: number) => (await other.valuesOf('plumbline_restore_seconds')).length === n
  const names = (await topology(DEFAULTS)).stages.map(({ name }) => name).sort()
  // Half of each stage's partitions, then the other half too.
  const half = (names.length * Number(DEFAULTS.partitions)) / 2
  await eventually(() => restored(half), PATIENCE_MS)
  running.child.kill('SIGSTOP')
  try {
    await eventually(() => restored(2 * half), PATIENCE_MS)
  } finally {
    running.child.kill('SIGCONT')
  }
  await scraper.until('PlumblinePartitionsMove', names, PATIENCE_MS)
  await end(beside, 'SIGTERM')
  await eventually(() => scraper.isReady(), PATIENCE_MS)
  scraper.forget()
  for (let look = 0; look < 3; look += 1) await scraper.scrape()
  expect(scraper.firing('PlumblinePartitionsMove')).toEqual([])
  expect(await typePage('docs/runbook/partitions-move.md', scraper, { cwd })).toContain(
    '200 {"status":"ready","waiting":[]}',
  )
  await end(running, 'SIGTERM')
})
