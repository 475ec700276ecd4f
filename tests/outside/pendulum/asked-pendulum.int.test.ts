import { expect, test } from 'vitest'
import { generate } from '../../../cli/generate.ts'
import { type DataFolder, openDataFolder } from '../../../pipeline/data-folder.ts'
import { verify } from '../../../pipeline/verify.ts'
import { prepareLog } from '../../../pipeline/wiring.ts'
import { runSource } from '../../../sources/run-source.ts'
import type { Domain } from '../../../streams/domain.ts'
import { rollouts } from '../../../streams/rollouts.ts'
import { DEFAULTS, DOMAINS, topology } from '../../../streams/topology.ts'
import { server } from '../../../testing/policy-stage.ts'
import { runUntilIdle } from '../../../testing/run-until-idle.ts'
import { sqlRows } from '../../../testing/sql-rows.ts'
import { temporaryFolder } from '../../../testing/temporary-folder.ts'
import { askedPendulum } from './asked-pendulum.ts'
import { GROUP_SIZE, gravityQuestions } from './gravity-question.ts'

const TOWERS_TOO = [...DOMAINS, askedPendulum]
const signal = new AbortController().signal

const newFolder = async () => openDataFolder({ data: await temporaryFolder() }, { create: true })
const wired = (policy: string, domains: readonly Domain[]) => topology({ ...DEFAULTS, policy }, domains)

/** Asks about so many pendulums, those asked about before included, and runs everything. */
async function ask(folder: DataFolder, policy: string, domains: readonly Domain[], pendulums: number): Promise<void> {
  const { log, blobs } = folder
  const wiring = await wired(policy, domains)
  await prepareLog(folder, wiring)
  await runSource(gravityQuestions(pendulums), { log, blobs, partitions: wiring.partitions })
  await runUntilIdle(folder, wiring)
}

async function askTowers(folder: DataFolder, scenes: number): Promise<void> {
  const shared = { split: 'train', variant: 'plain', purpose: 'train', round: 0, seed: '1', group_size: 2 } as const
  await prepareLog(folder, await wired(DEFAULTS.policy, TOWERS_TOO))
  await generate(folder, { ...shared, dataset: 'top_block', task: 'x_only', scenes }, true, signal)
}

const rowsOf = ({ duckdb_file }: DataFolder, sql: string) => sqlRows({ file: duckdb_file }, sql)

const GROUPS = `select origin, state, count(*)::int from groups group by all order by all`
const SAMPLED = `
  select split_part(policy, '(', 1) as policy, origin, count(*)::int as completions
  from policy.completions_sampled join rollout.requested using (group_id) group by all order by all`
const REWARDS = `
  select task, split_part(policy, '(', 1) as policy, outcome = 'number' as is_number, reward < 0 as is_negative,
    reward_name, count(advantage)::int as advantages, count(dx)::int as moves, count(scene_id)::int as scenes,
    count(text)::int as texts
  from rewards group by all order by all`
const FATES = `select fate, completions::int from funnel where completions > 0 order by all`

test('without towers, a world of its own has its groups formed, and verify passes', async () => {
  const folder = await newFolder()
  await ask(folder, 'guess', [rollouts, askedPendulum], 4)
  expect(await rowsOf(folder, GROUPS)).toEqual([['pendulum', 'formed', 4]])
  expect(await rowsOf(folder, FATES)).toEqual([['formed', 4 * GROUP_SIZE]])
  expect(await rowsOf(folder, 'select count(*)::int from advantages')).toEqual([[4 * GROUP_SIZE]])
  const [n, none] = [4 * GROUP_SIZE, 0]
  expect(await rowsOf(folder, REWARDS)).toEqual([['gravity', 'guess', true, true, 'gravity', n, none, none, n]])
  const wiring = await wired(DEFAULTS.policy, [rollouts, askedPendulum])
  expect((await verify(folder, wiring, { tables: true })).passed).toBe(true)
  await folder.close()
})

test('what a policy over HTTP has answered, a scripted one does not answer again, and the other way round', async () => {
  const folder = await newFolder()
  const chat = await server({ text: (seed) => String(seed % 20) })
  const over_http = `openai(${chat.url}, tiny)`
  await askTowers(folder, 2)
  await ask(folder, over_http, TOWERS_TOO, 2)
  await askTowers(folder, 3)
  await ask(folder, 'noisy-oracle(10)', TOWERS_TOO, 4)
  await ask(folder, over_http, TOWERS_TOO, 5)
  expect(await rowsOf(folder, SAMPLED)).toEqual([
    ['noisy-oracle', 'pendulum', 2 * GROUP_SIZE],
    ['noisy-oracle', 'tower', 2],
    ['openai', 'pendulum', 3 * GROUP_SIZE],
    ['openai', 'tower', 4],
  ])
  expect(await rowsOf(folder, FATES)).toEqual([['formed', 5 * GROUP_SIZE + 6]])
  expect(await rowsOf(folder, GROUPS)).toEqual([
    ['pendulum', 'formed', 5],
    ['tower', 'formed', 3],
  ])
  expect(
    await rowsOf(
      folder,
      `select task, count(*)::int, count(distinct scene_id)::int from rewards group by all order by all`,
    ),
  ).toEqual([
    ['gravity', 5 * GROUP_SIZE, 0],
    ['x_only', 6, 3],
  ])
  expect(await rowsOf(folder, 'select sum(completions)::int from reward_groups')).toEqual([[6]])
  expect((await verify(folder, await wired(DEFAULTS.policy, TOWERS_TOO), { tables: true })).passed).toBe(true)
  await folder.close()
})

test('requests of a world without a policy of that name stay unanswered, and verify agrees when it has one later', async () => {
  const folder = await newFolder()
  const { scripted: _none, ...unscripted } = askedPendulum
  await askTowers(folder, 1)
  await ask(folder, 'noisy-oracle(10)', [...DOMAINS, unscripted], 1)
  await ask(folder, 'oracle', TOWERS_TOO, 2)
  await ask(folder, 'noisy-oracle(10)', TOWERS_TOO, 3)
  expect(await rowsOf(folder, GROUPS)).toEqual([
    ['pendulum', 'formed', 1],
    ['pendulum', 'pending', 2],
    ['tower', 'formed', 1],
  ])
  expect((await verify(folder, await wired('oracle', TOWERS_TOO), { tables: true })).passed).toBe(true)
  await folder.close()
})
