import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { memoryLog } from '../../../infra/log/memory/memory-log.ts'
import type { Event } from '../../../schemas/declare/event.ts'
import { completionsSampled } from '../../../schemas/events/policy.ts'
import { groupFormed, rolloutRequested } from '../../../schemas/events/rollout.ts'
import { completionsScored } from '../../../schemas/events/tower.ts'
import { catalogue, views } from '../../../streams/vocabulary.ts'
import { emptyTables } from '../../../testing/duckdb/empty-tables.ts'
import { append, createTopics, rescored, Story } from '../../../testing/duckdb/recorded-tower.ts'
import { temporaryFolder } from '../../../testing/temporary-folder.ts'
import { openDuckDbSink } from '../duckdb-sink.ts'

type Ask = (sql: string) => Promise<Record<string, unknown>[]>

async function asking(write: (story: Story) => void): Promise<Ask> {
  const log = memoryLog()
  await createTopics(log)
  await append(log, write)
  const sink = await openDuckDbSink({
    file: await emptyTables(join(await temporaryFolder(), 'test.duckdb')),
    log,
    catalogue,
    views,
    serve: false,
  })
  onTestFinished(() => sink.close())
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

const VIEWS = [
  'rewards',
  'advantages',
  'groups',
  'reward_groups',
  'reward_comparison',
  'reward_agreement',
  'completion_fates',
  'funnel',
  'funnel_check',
]
const everything = (ask: Ask) => Promise.all(VIEWS.map((view) => ask(`FROM ${view} ORDER BY ALL`)))

/** The events that a story would append, by type, to be changed first. */
function toldOf(write: (story: Story) => void): Map<string, Event> {
  const told = new Map<string, Event>()
  class Listening extends Story {
    override event(type: never, event: never): this {
      told.set((type as { type: string }).type, event)
      return this
    }
  }
  write(new Listening(() => {}))
  return told
}

test('every column of rewards, live and rescored, is what the events hold', async () => {
  const ask = await asking((story) => {
    story.requested('g', 2).sampled('g', [0, 1]).scored('g', [20, 0]).formed('g', [20, 0])
    rescored(story, 'g', [1, 3])
  })
  const shared = {
    scene_id: 'scene-g',
    group_id: 'g',
    dataset: 'side_block',
    task: 'x_only',
    split: 'train',
    policy: 'random-legal',
    model_version: '4',
    purpose: 'train',
    outcome: 'stable',
    dy: null,
    distance_world: 0.1,
    ce_time: '2026-01-01 00:00:00+00',
    dialect: 'prime_rl',
  }
  const at = (completion_index: number) => ({
    completion_index,
    answer: String(completion_index),
    dx: completion_index,
    text: `<answer>${completion_index}</answer>`,
  })
  expect(await ask('FROM rewards ORDER BY reward_name DESC, completion_index')).toEqual([
    { ...shared, ...at(0), reward: 20, reward_name: 'paper', advantage: 10 },
    { ...shared, ...at(1), reward: 0, reward_name: 'paper', advantage: -10 },
    { ...shared, ...at(0), reward: 1, reward_name: 'mine', advantage: -1 },
    { ...shared, ...at(1), reward: 3, reward_name: 'mine', advantage: 1 },
  ])
})

test('a completion that is scored and not formed has no advantage; formed in two dialects, it has a row for each', async () => {
  const ask = await asking((story) => {
    story.requested('open', 3).sampled('open', [0, 1]).scored('open', [5, 6])
    story.requested('g', 2).sampled('g', [0, 1]).scored('g', [20, 0]).formed('g', [20, 0])
    const formed = toldOf((other) => other.formed('g', [20, 0])).get('rollout.group_formed') as Event<
      typeof groupFormed
    >
    const rows = formed.data.map((row) => ({ ...row, dialect: 'trl' as const, advantage: row.advantage / 2 }))
    story.event(groupFormed, { ...formed, id: 'formed-again', data: rows })
  })
  expect(await ask('SELECT group_id, completion_index AS i, advantage, dialect FROM rewards ORDER BY ALL')).toEqual([
    { group_id: 'g', i: 0, advantage: 5, dialect: 'trl' },
    { group_id: 'g', i: 0, advantage: 10, dialect: 'prime_rl' },
    { group_id: 'g', i: 1, advantage: -10, dialect: 'prime_rl' },
    { group_id: 'g', i: 1, advantage: -5, dialect: 'trl' },
    { group_id: 'open', i: 0, advantage: null, dialect: null },
    { group_id: 'open', i: 1, advantage: null, dialect: null },
  ])
  expect(await ask('SELECT completions, rewarded, reward_sum FROM reward_groups ORDER BY group_id')).toEqual([
    { completions: '2', rewarded: '2', reward_sum: 20 },
    { completions: '2', rewarded: '2', reward_sum: 11 },
  ])
})

// Earlier releases wrote such rows; today an event with them is refused.
test('an index that one event holds twice mixes no text with another reward, and each row has one fate', async () => {
  const ask = await asking((story) => {
    const sampled = toldOf((other) => other.sampled('g', [0, 0, 1])).get('policy.completions_sampled') as Event<
      typeof completionsSampled
    >
    const texts = ['first', 'second', 'other']
    const scored = toldOf((other) => other.scored('g', [20, -5, 0])).get('tower.completions_scored') as Event<
      typeof completionsScored
    >
    const indices = [0, 0, 1]
    story
      .requested('g', 2)
      .event(completionsSampled, {
        ...sampled,
        before_rules: true,
        data: sampled.data.map((row, at) => ({ ...row, text: texts[at] as string })),
      })
      .event(completionsScored, {
        ...scored,
        before_rules: true,
        data: scored.data.map((row, at) => ({ ...row, completion_index: indices[at] as number })),
      })
      .formed('g', [20, 0])
      .read(0, 10n)
      .read(1, 10n)
    rescored(story, 'g', [1, 7, 3], indices, { before_rules: true })
  })
  expect(
    await ask('SELECT completion_index AS i, reward_name, text, reward, advantage FROM rewards ORDER BY ALL'),
  ).toEqual([
    { i: 0, reward_name: 'mine', text: 'first', reward: 1, advantage: -1 },
    { i: 0, reward_name: 'mine', text: 'second', reward: 7, advantage: null },
    { i: 0, reward_name: 'paper', text: 'first', reward: 20, advantage: 10 },
    { i: 0, reward_name: 'paper', text: 'second', reward: -5, advantage: null },
    { i: 1, reward_name: 'mine', text: 'other', reward: 3, advantage: 1 },
    { i: 1, reward_name: 'paper', text: 'other', reward: 0, advantage: -10 },
  ])
  expect(await ask('SELECT fate, completions FROM funnel WHERE completions > 0 ORDER BY ALL')).toEqual([
    { fate: 'duplicate', completions: '1' },
    { fate: 'formed', completions: '2' },
  ])
  expect(await ask('FROM funnel_check')).toMatchObject([{ sampled: '3', with_a_fate: '3', lost: '0', holds: true }])
  expect(await ask('SELECT count(*) AS n FROM reward_comparison')).toEqual([{ n: '2' }])
})

test('what another program wrote under the name of a derived event is in its table and in no view', async () => {
  const whole = (story: Story) => {
    story.requested('g', 2).sampled('g', [0, 1]).scored('g', [20, 0]).formed('g', [20, 0])
    rescored(story, 'g', [1, 3])
    story.requested('late', 2).sampled('late', [0]).expired('late', [0], [1]).read(0, 10n).read(1, 10n)
  }
  const foreign = (story: Story) => {
    const forge = (tell: (other: Story) => void) => {
      for (const event of toldOf(tell).values()) {
        const type = catalogue.find(({ type }) => type === event.type)
        if (type === undefined) throw new Error(`no event ${event.type}`)
        story.event(type, { ...event, id: `foreign-${event.id}`, source: '/somebody/else' } as Event)
      }
    }
    forge((other) => other.scored('g', [7, 7]))
    forge((other) => other.formed('g', [7, 7]))
    forge((other) => rescored(other, 'g', [9, 9]))
    forge((other) => other.expired('g', [0], [1]))
    forge((other) => other.rejected('late', 0, 'late'))
    forge((other) => other.formed('late', [1, 1]))
  }
  const ask = await asking((story) => {
    whole(story)
    foreign(story)
  })
  expect(await everything(ask)).toEqual(await everything(await asking(whole)))
  expect(await ask('SELECT count(*) AS n FROM tower.completions_scored')).toEqual([{ n: '4' }])
  expect(await ask('SELECT count(*) AS n FROM rollout.group_expired')).toEqual([{ n: '2' }])
})

test('facts may have any producer: completions that another program recorded are in every view', async () => {
  const ask = await asking((story) => {
    const sampled = toldOf((other) => other.sampled('g', [0, 1])).get(completionsSampled.type) as Event<
      typeof completionsSampled
    >
    const requested = toldOf((other) => other.requested('g', 2)).get(rolloutRequested.type) as Event<
      typeof rolloutRequested
    >
    story
      .event(rolloutRequested, { ...requested, source: '/a/notebook' })
      .event(completionsSampled, { ...sampled, source: 'https://example.com/trainer' })
      .scored('g', [20, 0])
      .formed('g', [20, 0])
  })
  expect(await ask('SELECT policy, purpose, advantage FROM rewards ORDER BY ALL')).toEqual([
    { policy: 'random-legal', purpose: 'train', advantage: -10 },
    { policy: 'random-legal', purpose: 'train', advantage: 10 },
  ])
  expect(await ask("SELECT fate, completions FROM funnel WHERE fate = 'formed'")).toEqual([
    { fate: 'formed', completions: '2' },
  ])
})
