import { join } from 'node:path'
import { expect, test } from 'vitest'
import { memoryLog } from '../../../infra/log/memory/memory-log.ts'
import { advantagesOf } from '../../../processors/form-groups/advantages.ts'
import { completionsRescored } from '../../../schemas/events/reward.ts'
import { DIALECTS } from '../../../schemas/events/rollout.ts'
import { catalogue, views } from '../../../streams/vocabulary.ts'
import { emptyTables } from '../../../testing/duckdb/empty-tables.ts'
import { append, createTopics, eventOf, type Story } from '../../../testing/duckdb/recorded-tower.ts'
import { temporaryFolder } from '../../../testing/temporary-folder.ts'
import { openDuckDbSink } from '../duckdb-sink.ts'

const LIVE = [20, 0, 0, -5]
const AGAIN = [1, 3, 0, 3]

/** Completions of a group under a custom reward, from index `from` on. */
function rescored(
  story: Story,
  group: string,
  rewards: readonly number[],
  name: string,
  dialect = DIALECTS[0],
  from = 0,
) {
  const rows = rewards.map((reward, index) => ({
    group_id: group,
    completion_index: from + index,
    attempt_id: 'a1',
    sampled_id: `sampled-${group}`,
    scored_id: `scored-${group}`,
    reward,
    reward_components: {},
    reward_name: name,
    reward_version: 1,
    source_sha256: 'a'.repeat(64),
    dialect,
  }))
  story.event(completionsRescored, eventOf(completionsRescored, `rescored-${name}-${group}-${from}`, group, rows))
}

async function asking(write: (story: Story) => void): Promise<(sql: string) => Promise<Record<string, unknown>[]>> {
  const log = memoryLog()
  await createTopics(log)
  await append(log, (story) => {
    story.requested('g', 4).sampled('g', [0, 1, 2, 3]).scored('g', LIVE).formed('g', LIVE)
    write(story)
  })
  const file = await emptyTables(join(await temporaryFolder(), 'test.duckdb'))
  const sink = await openDuckDbSink({ file, log, catalogue, views, serve: false })
  await sink.loadOnce()
  return async (sql) => {
    const connection = await sink.connect()
    try {
      return (await connection.runAndReadAll(sql)).getRowObjectsJson()
    } finally {
      connection.disconnectSync()
    }
  }
}

test('in every dialect the views give the advantages that a group formed with these rewards would have', async () => {
  const ask = await asking((story) => {
    for (const dialect of DIALECTS) rescored(story, 'g', AGAIN, `mine-${dialect}`, dialect as 'paper')
  })
  for (const dialect of DIALECTS) {
    const expected = advantagesOf(AGAIN, dialect)
    for (const view of ['rewards', 'reward_comparison']) {
      const rows = await ask(
        `SELECT advantage, dialect FROM ${view} WHERE reward_name = 'mine-${dialect}' ORDER BY completion_index`,
      )
      expect(rows.map((row) => row.dialect)).toEqual(AGAIN.map(() => dialect))
      rows.forEach((row, index) => {
        expect(row.advantage, `${view} ${dialect} ${index}`).toBeCloseTo(expected[index] as number, 12)
      })
    }
  }
})

test('equal rewards share the best rank, and rises and flips are reported', async () => {
  const ask = await asking((story) => rescored(story, 'g', AGAIN, 'mine'))
  const rows = await ask(
    'SELECT live_reward, reward, live_rank, rank, rank_change, advantage_flips FROM reward_comparison ORDER BY completion_index',
  )
  expect(
    rows.map((row) => Object.values(row).map((value) => (typeof value === 'string' ? Number(value) : value))),
  ).toEqual([
    [20, 1, 1, 3, -2, true],
    [0, 3, 2, 1, 1, true],
    [0, 0, 2, 4, -2, false],
    [-5, 3, 4, 1, 3, true],
  ])
  const [agreement] = await ask(
    'SELECT rank_correlation, same_best, advantage_flips, completions FROM reward_agreement',
  )
  // scipy.stats.spearmanr([20, 0, 0, -5], [1, 3, 0, 3])
  expect(agreement?.rank_correlation).toBeCloseTo(-0.5, 12)
  expect(agreement).toMatchObject({ same_best: false, advantage_flips: '3', completions: '4' })
})

test('a group that is rescored in part has no advantages yet, and no rewards are lost by that', async () => {
  const half = await asking((story) => rescored(story, 'g', AGAIN.slice(0, 2), 'mine'))
  expect(await half(`SELECT count(*) AS n, count(advantage) AS a FROM rewards WHERE reward_name = 'mine'`)).toEqual([
    { n: '2', a: '0' },
  ])
  expect(await half('FROM reward_agreement')).toEqual([])
  const whole = await asking((story) => {
    rescored(story, 'g', AGAIN.slice(0, 2), 'mine')
    rescored(story, 'g', AGAIN.slice(2), 'mine', 'paper', 2)
  })
  expect(await whole('SELECT completions FROM reward_agreement')).toEqual([{ completions: '4' }])
})

test('the live rows, the funnel and the groups do not change', async () => {
  const questions = [
    `SELECT * FROM rewards WHERE reward_name = 'paper' ORDER BY ALL`,
    'SELECT * FROM groups ORDER BY ALL',
    'SELECT * FROM funnel ORDER BY ALL',
    `SELECT * FROM advantages WHERE reward_name = 'paper' ORDER BY ALL`,
    `SELECT * FROM reward_groups WHERE reward_name = 'paper' ORDER BY ALL`,
  ]
  const before = await asking(() => {})
  const after = await asking((story) => rescored(story, 'g', AGAIN, 'mine'))
  for (const question of questions) expect(await after(question)).toEqual(await before(question))
})
