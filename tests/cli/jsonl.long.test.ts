import { existsSync, lstatSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { parseOpenMetrics } from '../../testing/open-metrics.ts'
import { eventually, plumbline, plumblineOk, sharedFolder, start } from './plumbline.ts'

/** `run --jsonl DIR`: the second sink, as a user starts it. */

const SCENES = 30
const GENERATE = ['generate', 'tower', '--dataset', 'side_block', '--task', 'x_y', '--seed', '7', '--group-size', '4']
const RUN = ['run', '--policy', 'random-legal']
const JSONL = ['--jsonl', 'events']

let cwd = ''
beforeAll(async () => {
  cwd = await sharedFolder()
  await plumblineOk([...GENERATE, '--scenes', `${SCENES}`], { cwd })
})

const TYPES = ['rollout.requested', 'policy.completions_sampled', 'tower.completions_scored', 'rollout.group_formed']
const lines = (text: string) => text.split('\n').slice(0, -1)
const linesOf = (type: string) => lines(readFileSync(join(cwd, 'events', `${type}.jsonl`), 'utf8'))

test('killed with kill -9 while it loads, run writes each event as one line, as tail --json prints it', async () => {
  const running = start([...RUN, ...JSONL], { cwd })
  await eventually(() => existsSync(join(cwd, 'events', 'policy.completions_sampled.jsonl')))
  running.child.kill('SIGKILL')
  await running.ended
  const ended = await plumbline([...RUN, '--until-idle', ...JSONL], { cwd })
  expect(ended, ended.stderr).toMatchObject({ code: 0, stdout: '' })
  for (const type of TYPES) {
    const told = lines(await plumblineOk(['tail', type, '--json'], { cwd }))
    expect(told).toHaveLength(SCENES)
    expect(linesOf(type).toSorted(), type).toEqual(told.toSorted())
  }
  const lag = JSON.parse(await plumblineOk(['lag', ...JSONL, '--json'], { cwd })) as { groups: { group: string }[] }
  expect(lag.groups.find(({ group }) => group === 'jsonl')).toMatchObject({ messages: 0, bytes: 0 })
  const open = readdirSync(join(cwd, 'events')).filter((name) => lstatSync(join(cwd, 'events', name)).mode & 0o077)
  expect([open, lstatSync(join(cwd, 'events')).mode & 0o077]).toEqual([[], 0])
})

test('run --only jsonl starts that sink alone, reports on it in metrics, and refuses a second writer', async () => {
  const place = { cwd, env: { PLUMBLINE_DATA: 'alone' } }
  await plumblineOk([...GENERATE, '--scenes', '3'], place)
  const running = start([...RUN, '--only', 'jsonl', '--jsonl', 'alone-events', '--metrics', '127.0.0.1:0'], place)
  const url = await eventually(() => /metrics at (http:\/\/127\.0\.0\.1:\d+)\/metrics/.exec(running.stderr())?.[1])
  const scrape = async () => parseOpenMetrics(await (await fetch(`${url}/metrics`)).text())
  const lag = await eventually(async () => {
    const found = (await scrape()).filter(({ name }) => name === 'plumbline_lag_messages')
    return found.every(({ value }) => value === 0) && found
  })
  expect(lag).toEqual([{ name: 'plumbline_lag_messages', labels: { stage: 'jsonl' }, value: 0 }])
  const trouble = (await scrape()).filter(({ name }) => name === 'plumbline_trouble')
  expect(trouble).toEqual([{ name: 'plumbline_trouble', labels: { stage: 'jsonl' }, value: 0 }])
  expect(await (await fetch(`${url}/readyz`)).json()).toEqual({ status: 'ready', waiting: [] })

  const second = await plumbline([...RUN, '--only', 'jsonl', '--jsonl', 'alone-events'], place)
  expect([second.code, second.stderr]).toEqual([
    1,
    expect.stringMatching(/alone-events: another process writes there\n {2}end the run that writes there/),
  ])
  running.child.kill('SIGTERM')
  expect((await running.ended).code).toBe(0)
  expect(existsSync(join(cwd, 'alone', 'plumbline.duckdb'))).toBe(false)
  // No processor ran, so nothing was computed and no clock ticked.
  const written = readdirSync(join(cwd, 'alone-events')).filter((name) => name.endsWith('.jsonl'))
  expect(written.toSorted()).toEqual(['rollout.requested.jsonl', 'tower.scene_presented.jsonl'])
})

test('dlq lists the records that the files lack, and dlq retry writes those that can be read', async () => {
  const place = { cwd, env: { PLUMBLINE_DATA: 'lacking' } }
  await plumblineOk([...GENERATE, '--scenes', '1'], place)
  const completion = {
    completion_index: 0,
    text: '<answer>0</answer>',
    token_ids: Array.from({ length: 20_000 }, (_, at) => at),
  }
  const [request] = lines(await plumblineOk(['tail', 'rollout.requested', '--json'], place))
  const { key: group_id } = JSON.parse(request ?? '') as { key: string }
  writeFileSync(join(cwd, 'long.jsonl'), `${JSON.stringify({ group_id, ...completion })}\n`)
  await plumblineOk(['run', '--until-idle', '--no-sink', '--policy', 'recorded(long.jsonl)'], place)
  const root = join(cwd, 'lacking', 'blobs')
  const blobs = (readdirSync(root, { recursive: true }) as string[]).map((name) => join(root, name))
  const [blob = ''] = blobs.filter((name) => lstatSync(name).size > 64 * 1024)
  renameSync(blob, join(cwd, 'kept'))

  const JSONL = ['--jsonl', 'lacking-events']
  const RUN = ['run', '--only', 'jsonl', ...JSONL]
  const first = await plumbline([...RUN, '--until-idle'], place)
  expect(first.stderr).toMatch(
    /jsonl: cannot read 1 record, which is .*dlq list --processor jsonl --jsonl .*lacking-events/,
  )
  const list = async () =>
    lines(await plumblineOk(['dlq', 'list', '--json', ...JSONL], place)).map((line) => JSON.parse(line))
  const [listed] = await list()
  expect(listed).toMatchObject({ processor: 'jsonl', failure: 'unreadable', topic: 'policy.completions_sampled' })
  expect(await plumblineOk(['dlq', 'show', listed.number, ...JSONL], place)).toContain(
    `jsonl cannot read ${listed.number}`,
  )
  const unnamed = await plumbline(['dlq', 'list', '--processor', 'jsonl'], place)
  expect([unnamed.code, unnamed.stderr]).toEqual([2, expect.stringContaining('add --jsonl FOLDER')])

  const retry = ['dlq', 'retry', '--all', '--processor', 'jsonl', ...JSONL]
  expect((await plumbline(retry, place)).stdout).toMatch(/ of jsonl: refused: blob /)
  const running = start(RUN, place)
  await eventually(async () =>
    (await plumbline(retry, place)).stdout.includes('the run that loads reads it again by itself'),
  )
  running.child.kill('SIGTERM')
  await running.ended
  renameSync(join(cwd, 'kept'), blob)
  expect(await plumblineOk(['dlq', 'retry', listed.number, ...JSONL], place)).toBe(
    `${listed.number} of jsonl: loaded\n`,
  )
  expect(await list()).toEqual([])
  const written = readFileSync(join(cwd, 'lacking-events', 'policy.completions_sampled.jsonl'), 'utf8')
  expect(lines(written)).toHaveLength(1)
})

test('lines of another log are refused, with what to do', async () => {
  const place = { cwd, env: { PLUMBLINE_DATA: 'other' } }
  await plumblineOk([...GENERATE, '--scenes', '1'], place)
  const refused = await plumbline([...RUN, '--until-idle', '--only', 'jsonl', ...JSONL], place)
  expect([refused.code, refused.stderr]).toEqual([
    1,
    expect.stringMatching(/events was loaded from another log than .*To restart: remove .*--jsonl/),
  ])
  const listed = await plumbline(['positions', 'list', ...JSONL], place)
  expect([listed.code, listed.stdout]).toEqual([1, expect.stringMatching(/^jsonl .*NOT IN THIS LOG/m)])
})
