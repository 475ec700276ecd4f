import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import type { Event, RowOfEvent } from '../../schemas/declare/event.ts'
import { rolloutRequested } from '../../schemas/events/rollout.ts'
import type { scenePresented } from '../../schemas/events/tower.ts'
import { decodeEvent } from '../../schemas/wire/codec.ts'
import { vocabulary } from '../../streams/vocabulary.ts'
import { funnel, plumbline, plumblineOk, sharedFolder, sql } from './plumbline.ts'
import { everythingEmitted, readLog, recordsOf } from './whole-log.ts'

/** Completions that another program sampled, in a file, answer requests of groups of four. */

type Request = Event<typeof rolloutRequested>['data']

let cwd = ''
let requests: Request[] = []
beforeAll(async () => {
  cwd = await sharedFolder()
  const scenes = ['--dataset', 'side_block', '--task', 'x_y', '--scenes', '5', '--seed', '7', '--group-size', '4']
  await plumblineOk(['generate', 'tower', ...scenes], { cwd })
  requests = await readLog(join(cwd, 'data', 'log'), async (log) =>
    (await recordsOf(log, rolloutRequested.type)).map(
      (record) => (decodeEvent(record, vocabulary) as Event<typeof rolloutRequested>).data,
    ),
  )
  requests.sort((a, b) => sceneOf(a).index - sceneOf(b).index)
})

const sceneOf = ({ start }: Request) => start.value as RowOfEvent<typeof scenePresented>

/** A completion's text: the optimal move plus an offset in units. */
function off(request: Request, dx: number, dy: number): string {
  const { dx_units, dy_units } = sceneOf(request).optimal_move ?? { dx_units: 0, dy_units: 0 }
  return `I move it so.<answer>${dx_units + dx}, ${(dy_units ?? 0) + dy}</answer>`
}

/** A whole group: the optimal move, 30 units off, far below the floor, and no answer. */
const fourOf = (request: Request) =>
  [off(request, 0, 0), off(request, 30, 0), off(request, 0, -2_000), 'no idea'].map((text, completion_index) => ({
    group_id: request.group_id,
    completion_index,
    text,
    token_ids: [5, 6],
    logprobs: [-0.1, -1 / 3],
    logprobs_kind: 'raw',
    time: '2026-03-01T12:00:00Z',
  }))

async function record(name: string, lines: readonly object[]): Promise<string> {
  await writeFile(join(cwd, name), lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  return `recorded(${name})`
}
const at = (index: number) => requests[index] as Request
const pick = (index: number, ...completions: number[]) => {
  const four = fourOf(at(index))
  return completions.map((completion) => four[completion] as (typeof four)[number])
}
const run = (policy: string, ...more: string[]) =>
  plumbline(['run', '--until-idle', '--policy', policy, ...more], { cwd })

test('a recording answers requests: groups form, and the rewards are those of paper 1', async () => {
  const policy = await record(
    'whole.jsonl',
    [...pick(0, 0, 1, 2, 3), '', ...pick(1, 3, 2, 1, 0)].filter((line) => line !== '') as object[],
  )
  const { code, stderr } = await run(policy)
  expect(code, stderr).toBe(0)
  expect(stderr).toContain('recorded completions: 2 parts of groups')
  const rewards = await sql(
    `select completion_index as i, outcome, round(reward, 6) as reward, count(*) as n, any_value(policy) as policy,
     min(advantage) < max(advantage) as told_apart from rewards group by all order by i`,
    { cwd },
  )
  const stable = Number((20 * Math.exp(-(0.03 ** 2))).toFixed(6))
  expect(rewards).toMatchObject([
    { i: 0, outcome: 'stable', reward: 20, n: 2, policy },
    { i: 1, outcome: 'stable', reward: stable, n: 2 },
    { i: 2, outcome: 'below_floor', reward: -4, n: 2 },
    { i: 3, outcome: 'non_parseable', reward: -5, n: 2 },
  ])
  expect(await funnel({ cwd })).toEqual({ formed: 8 })
})

test('the same recording again, and under another name, adds nothing', async () => {
  const before = await everythingEmitted(join(cwd, 'data', 'log'))
  const { code, stderr } = await run('recorded(whole.jsonl)')
  expect(code, stderr).toBe(0)
  expect(stderr).toContain('0 parts of groups, 2 were there already')
  expect(await everythingEmitted(join(cwd, 'data', 'log'))).toEqual(before)
})

test('a duplicate, another attempt and an index out of range each get their fate, and groups are whole', async () => {
  const other = { attempt_id: 'another-attempt' }
  // Named, so that rows in a later file belong to the same attempt.
  const first = (lines: object[]) => lines.map((line) => ({ ...line, attempt_id: 'first-attempt' }))
  const policy = await record('mixed.jsonl', [
    ...first(pick(2, 0, 1)),
    ...pick(3, 0), // between the two: each run of lines with one group is an event
    ...first(pick(2, 1)).map((line) => ({ ...line, text: 'a second answer under a taken index' })),
    ...pick(3, 1).map((line) => ({ ...line, ...other })),
    ...first([...pick(2, 2, 3), ...pick(2, 0).map((line) => ({ ...line, completion_index: 7 }))]),
    ...pick(3, 1, 2, 3),
  ])
  const mixed = await run(policy)
  expect(mixed, mixed.stderr).toMatchObject({ code: 0 })
  expect(await funnel({ cwd })).toEqual({ formed: 16, duplicate: 1, mixed_attempt: 1, index_out_of_range: 1 })

  // The group is complete, so the same rows in a later file are duplicates.
  const again = await run(await record('again.jsonl', first(pick(2, 0, 1))))
  expect(again, again.stderr).toMatchObject({ code: 0 })
  expect(await funnel({ cwd })).toEqual({ formed: 16, duplicate: 3, mixed_attempt: 1, index_out_of_range: 1 })
})

test('--expire-pending expires an incomplete group and names what is missing', async () => {
  const policy = await record('incomplete.jsonl', pick(4, 0, 2))
  const waiting = await run(policy)
  expect(waiting, waiting.stderr).toMatchObject({ code: 0 })
  expect(await funnel({ cwd })).toMatchObject({ formed: 16, pending_held: 2 })

  const expiring = await run(policy, '--expire-pending')
  expect(expiring, expiring.stderr).toMatchObject({ code: 0 })
  expect(await funnel({ cwd })).toEqual({
    formed: 16,
    duplicate: 3,
    mixed_attempt: 1,
    index_out_of_range: 1,
    expired: 2,
  })
  expect(
    await sql(
      'select group_id, group_size, missing, list_sort([h.completion_index for h in held]) as held from rollout.group_expired',
      { cwd },
    ),
  ).toEqual([{ group_id: at(4).group_id, group_size: 4, missing: [1, 3], held: [0, 2] }])
})

test('a completion for an expired group is late', async () => {
  const late = await run(await record('late.jsonl', pick(4, 1, 3)))
  expect(late, late.stderr).toMatchObject({ code: 0 })
  expect(await funnel({ cwd })).toMatchObject({ formed: 16, expired: 2, late: 2 })
})

test('after all of that verify passes', async () => {
  const { code, stdout, stderr } = await plumbline(['verify'], { cwd })
  expect(code, stderr).toBe(0)
  expect(stdout).toBe('verify: passed\n')
})

test('completions without a request wait for it', async () => {
  const stray = { group_id: 'nobody-asked', completion_index: 0, text: 'x', time: '2026-03-01T13:00:00Z' }
  const { code, stderr } = await run(await record('stray.jsonl', [stray]))
  expect(code, stderr).toBe(0)
  expect(await funnel({ cwd })).toMatchObject({ formed: 16, pending_held: 1 })
})

test('a recording made a month after the last one is ingested too', async () => {
  const stray = { group_id: 'nobody-asked', completion_index: 1, text: 'x', time: '2026-04-01T13:00:00Z' }
  await run(await record('april.jsonl', [stray]))
  expect(await funnel({ cwd })).not.toHaveProperty('dead')
})
