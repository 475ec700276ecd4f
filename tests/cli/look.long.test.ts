import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { rolloutRequested } from '../../schemas/events/rollout.ts'
import { readersOf } from '../../testing/readers-of.ts'
import { eventually, plumbline, plumblineOk, sharedFolder, sql, start } from './plumbline.ts'
import { withLog } from './whole-log.ts'

/** tail, lag and dlq, as a person uses them. */

let cwd = ''
const generate = (seed: string, scenes = '6') => [
  ...['generate', 'tower', '--dataset', 'side_block', '--task', 'x_y', '--group-size', '4'],
  ...['--scenes', scenes, '--seed', seed],
]
const lines = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))

beforeAll(async () => {
  cwd = await sharedFolder()
  await plumblineOk(generate('1'), { cwd })
  await plumblineOk(['run', '--until-idle', '--policy', 'random-legal'], { cwd })
})

test('tail shows every event once, one JSON object on each line, and only the selected rows', async () => {
  const all = lines(await plumblineOk(['tail', 'tower.completions_scored', '--json'], { cwd }))
  expect(all).toHaveLength(6)
  expect(all.every(({ rows }) => rows.length === 4)).toBe(true)
  const outcome = all[0].rows[0].outcome as string
  const where = ['--where', `outcome=${outcome}`, '--where', 'ce_clock=virtual']
  const some = lines(await plumblineOk(['tail', 'tower.completions_scored', ...where, '--json'], { cwd }))
  const rows = (events: { rows: { outcome: string }[] }[]) => events.flatMap((event) => event.rows)
  expect(rows(some)).toEqual(rows(all).filter((row) => row.outcome === outcome))
  const one = lines(await plumblineOk(['tail', 'rollout.requested', '--key', all[0].key, '--json'], { cwd }))
  expect(one).toMatchObject([
    { key: all[0].key, rows: [{ group_id: all[0].key, start: { value: { dataset: 'side_block' } } }] },
  ])
  const inner = ['--where', 'start.value.dataset=side_block', '--limit', '2', '--json']
  expect(lines(await plumblineOk(['tail', 'rollout.requested', ...inner], { cwd }))).toHaveLength(2)
  const text = await plumblineOk(['tail', 'tower.completions_scored', '--limit', '1'], { cwd })
  expect(text).toMatch(/^2026-\S+ {2}tower\.completions_scored {2}p\d@0 {2}key [0-9a-f]{32}/)
  expect(text).toMatch(/\n {2}completion_index {2}.*outcome.*\n(.*\n){4}$/)
})

test('tail --follow shows events as they arrive, and ends cleanly on Ctrl-C', async () => {
  const following = start(['tail', 'tower.scene_presented', '--follow', '--json'], { cwd })
  // It starts at the end of the log, so earlier events are not shown.
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  await plumblineOk(generate('2', '3'), { cwd })
  await eventually(() => following.stdout().split('\n').length === 4)
  following.child.kill('SIGINT')
  const { code, stdout } = await following.ended
  expect(code).toBe(0)
  expect(lines(stdout).map(({ envelope }) => envelope.seed)).toEqual(['2', '2', '2'])
})

test('lag counts what each reader has yet to read, and is 0 when all is read', async () => {
  const folder = { cwd: await sharedFolder() }
  await plumblineOk(generate('1'), folder)
  const before = JSON.parse(await plumblineOk(['lag', '--json'], folder))
  const group = (lag: typeof before, name: string) => lag.groups.find((one: { group: string }) => one.group === name)
  expect(group(before, 'form-groups').messages).toBe(6)
  expect(group(before, 'form-groups').bytes).toBeGreaterThan(6 * 1_000)
  expect(group(before, 'form-groups').behind_ms).toBeGreaterThan(0)
  expect(group(before, 'form-groups').partitions).toHaveLength(4)
  expect(group(before, 'duckdb')).toBeUndefined()
  await plumblineOk(['run', '--until-idle'], folder)
  const after = JSON.parse(await plumblineOk(['lag', '--json'], folder))
  for (const { messages, bytes, behind_ms } of after.groups) expect([messages, bytes, behind_ms]).toEqual([0, 0, 0])
  expect(after.groups.map((one: { group: string }) => one.group)).toContain('duckdb')
  const sum = (ends: number[]) => ends.reduce((total, end) => total + end, 0)
  expect(sum(after.offsets['rollout.requested'])).toBe(6)
  expect(sum(after.offsets['rollout.group_formed'])).toBe(6)
  const text = (await plumblineOk(['lag'], folder)).trimEnd().split('\n')
  expect(text[0]).toMatch(/^group +partition +messages +bytes +behind$/)
  expect(text.slice(2).every((line) => /0 +0 +0 s$/.test(line))).toBe(true)
})

test('lag answers while a run is active', async () => {
  const folder = { cwd: await sharedFolder() }
  const running = start(['run'], folder)
  await eventually(async () => (await plumbline(['lag', '--json'], folder)).stdout.includes('"duckdb"'))
  running.child.kill('SIGTERM')
  expect((await running.ended).code).toBe(0)
})

test('an undecodable record is listed, shown and refused for a retry with its reason, and the rest continues', async () => {
  await withLog(join(cwd, 'data', 'log'), async (log) => {
    const producer = await log.producer({ transactional_id: 'a stranger' })
    const transaction = producer.begin()
    transaction.append('rollout.requested', 1, { key: 'k', headers: [], value: Buffer.from('{"not": "an event"}') })
    await transaction.commit()
    await producer.close()
  })
  await plumblineOk(['run', '--until-idle', '--policy', 'random-legal'], { cwd })
  const letters = lines(await plumblineOk(['dlq', 'list', '--json'], { cwd }))
  const readers = await readersOf(rolloutRequested)
  expect(letters.map(({ processor }) => processor).sort()).toEqual(['duckdb', ...readers].sort())
  const one = lines(await plumblineOk(['dlq', 'list', '--processor', 'form-groups', '--json'], { cwd }))
  expect(one).toMatchObject([{ failure: 'poison', topic: 'rollout.requested', partition: 1, retried: false }])
  const number = String(one[0].number)
  expect(await plumblineOk(['dlq', 'list', '--processor', 'typo'], { cwd })).toMatch(
    /^no dead letters of typo; there are some of .*form-groups/,
  )
  const shown = await plumblineOk(['dlq', 'show', number], { cwd })
  expect(shown).toContain(`dead letter ${number} of form-groups: poison`)
  expect(shown).toContain('{\\"not\\": \\"an event\\"}')
  const retry = await plumbline(['dlq', 'retry', number], { cwd })
  expect([retry.code, retry.stdout]).toEqual([1, expect.stringContaining('refused: the record itself is wrong')])
  expect(await plumblineOk(['dlq', 'retry', '--all'], { cwd })).toMatch(
    new RegExp(
      `^(\\d+: refused: .*\\n){${readers.length}}rollout\\.requested/1/\\d+ of duckdb: refused: header ce_specversion.*\\n$`,
    ),
  )
  const place = letters.find(({ processor }) => processor === 'duckdb')
  expect(place).toMatchObject({ failure: 'unreadable', topic: 'rollout.requested', partition: 1 })
  const unread = await plumblineOk(['dlq', 'show', place.number], { cwd })
  expect(unread).toContain(`duckdb cannot read ${place.number}`)
  expect(unread).toContain('{\\"not\\": \\"an event\\"}')
  expect(await plumblineOk(['dlq', 'list', '--processor', 'duckdb'], { cwd })).toMatch(
    /^ *n .*\n─.*\nrollout\.requested/,
  )
  const nowhere = await plumbline(['dlq', 'show', 'rollout.requested/0/99'], { cwd })
  expect(nowhere).toMatchObject({ code: 2, stderr: expect.stringContaining('no sink lists such a record') })
  expect((await plumbline(['dlq', 'retry'], { cwd })).code).toBe(2)
  expect(await sql('select count(*)::int as n from internal.dead_letters', { cwd })).toEqual([{ n: readers.length }])
  const tail = await plumblineOk(['tail', 'rollout.requested'], { cwd })
  expect(tail).toContain('UNREADABLE: header ce_specversion')
})

test('sql --as-of answers at the offsets that lag reported, and at a time', async () => {
  const folder = { cwd: await sharedFolder() }
  const question = 'select count(*)::int as n, round(sum(reward), 9) as reward from rewards'
  await plumblineOk(generate('1'), folder)
  await plumblineOk(['run', '--until-idle'], folder)
  await writeFile(join(folder.cwd, 'then.json'), await plumblineOk(['lag', '--json'], folder))
  const then = await sql(question, folder)
  const time = new Date().toISOString()
  await plumblineOk(generate('2'), folder)
  await plumblineOk(['run', '--until-idle'], folder)
  expect(await sql(question, folder)).not.toEqual(then)
  for (const as_of of ['@then.json', time]) {
    const answer = await plumblineOk(['sql', question, '--as-of', as_of, '--format', 'json'], folder)
    expect(JSON.parse(answer)).toEqual(then)
  }
  const check = await plumblineOk(['sql', 'select holds from funnel_check', '--as-of', '@then.json', '--json'], folder)
  expect(JSON.parse(check)).toEqual([{ holds: true }])
  for (const wrong of ['yesterday', '@none.json', '{"a": 1}']) {
    expect(await plumbline(['sql', question, '--as-of', wrong], folder)).toMatchObject({ code: 2 })
  }
  const unknown = await plumbline(['sql', question, '--as-of', '{"tower.completion_scored": [1]}'], folder)
  expect(unknown).toMatchObject({ code: 1, stdout: '' })
  expect(unknown.stderr).toMatch(
    /^plumbline: as of: no topic is called tower\.completion_scored; there are .*tower\.completions_scored, .*\n$/,
  )
})
