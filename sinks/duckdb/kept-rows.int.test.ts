import { join } from 'node:path'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { type MemoryLog, memoryLog } from '../../infra/log/memory/memory-log.ts'
import { towerOrigin } from '../../schemas/events/tower-origin.ts'
import { catalogue, views } from '../../streams/vocabulary.ts'
import { emptyTables } from '../../testing/duckdb/empty-tables.ts'
import { append, createTopics, rescored, type Story } from '../../testing/duckdb/recorded-tower.ts'
import { temporaryFolder } from '../../testing/temporary-folder.ts'
import { openDatabase } from './database.ts'
import { type DuckDbSink, openDuckDbSink } from './duckdb-sink.ts'
import { rewardsOf } from './views/rewards.ts'

const REWARDS = [20, 0, -5]
const SAYS = {
  requested: (story: Story, group: string) => story.requested(group, 3),
  sampled: (story: Story, group: string) => story.sampled(group, [0, 1, 2]),
  scored: (story: Story, group: string) => story.scored(group, REWARDS),
  formed: (story: Story, group: string) => story.formed(group, REWARDS),
  rescored: (story: Story, group: string) => rescored(story, group, [1, 3, 2]),
}
const WHAT = Object.keys(SAYS) as (keyof typeof SAYS)[]

const whole = (story: Story, group: string) => {
  for (const what of WHAT) SAYS[what](story, group)
}

interface Opened {
  readonly log: MemoryLog
  readonly file: string
  sink: DuckDbSink
  ask(sql: string): Promise<unknown[][]>
  open(options?: { observe?: () => void; kept_from_groups?: number }): Promise<void>
}

async function opened(): Promise<Opened> {
  const log = memoryLog()
  await createTopics(log)
  const file = await emptyTables(join(await temporaryFolder(), 'test.duckdb'))
  const options = { file, log, catalogue, views, serve: false, kept_from_groups: 1 }
  const place: Opened = {
    log,
    file,
    sink: await openDuckDbSink(options),
    async ask(sql) {
      const connection = await place.sink.connect()
      try {
        return (await connection.runAndReadAll(sql)).getRowsJson()
      } finally {
        connection.disconnectSync()
      }
    },
    async open(more = {}) {
      await place.sink.close()
      place.sink = await openDuckDbSink({ ...options, ...more })
    },
  }
  onTestFinished(() => place.sink.close())
  return place
}

/** The rows computed from the events, whatever is stored. */
const FROM_EVENTS = `FROM (${rewardsOf([towerOrigin])}) ORDER BY ALL`
const ASKED = 'FROM rewards ORDER BY ALL'
const KEPT = 'SELECT count(*)::INTEGER FROM internal.rewarded_groups WHERE kept'

test('whatever arrives in whatever order, and whenever rows are stored, rewards has what the events give', {
  timeout: 300_000,
}, async () => {
  const event = fc.record({ group: fc.constantFrom('g0', 'g1', 'g2'), what: fc.constantFrom(...WHAT) })
  const step = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({ does: fc.constant('load' as const), events: fc.array(event, { maxLength: 6 }) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        does: fc.constant('fail' as const),
        events: fc.array(event, { minLength: 1, maxLength: 3 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ does: fc.constant('open' as const), events: fc.constant([]) }) },
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 8 }), async (steps) => {
      const place = await opened()
      for (const { does, events } of steps) {
        await append(place.log, (story) => {
          for (const { group, what } of events) SAYS[what](story, group)
        })
        if (does === 'open') await place.open()
        if (does === 'fail') {
          // A crash or a full disk, after the rows and before the commit.
          await place.open({
            observe: () => {
              throw new Error('the disk is full')
            },
          })
          await place.sink.loadOnce().catch(() => undefined)
          expect(await place.ask(ASKED)).toEqual(await place.ask(FROM_EVENTS))
          await place.open()
        }
        await place.sink.loadOnce()
        expect(await place.ask(ASKED)).toEqual(await place.ask(FROM_EVENTS))
      }
      await place.sink.close()
    }),
    { numRuns: 6, seed: 3 },
  )
})

test('rows of idle groups are stored, and removed in the transaction of the group’s next event', async () => {
  const place = await opened()
  await append(place.log, (story) => {
    whole(story, 'g0')
    whole(story, 'g1')
    SAYS.requested(story, 'open')
    SAYS.sampled(story, 'open')
    SAYS.scored(story, 'open')
  })
  await place.sink.loadOnce()
  expect(await place.ask(KEPT)).toEqual([[3]])
  expect(await place.ask('SELECT count(*)::INTEGER FROM internal.kept_rewards')).toEqual([[15]])

  await place.open({ kept_from_groups: 1_000 })
  await append(place.log, (story) => SAYS.formed(story, 'open'))
  const advantages = `SELECT count(advantage)::INTEGER FROM rewards WHERE group_id = 'open'`
  expect(await place.ask(advantages)).toEqual([[0]])
  await place.sink.loadOnce()
  expect(await place.ask(advantages)).toEqual([[3]])
  expect(await place.ask(ASKED)).toEqual(await place.ask(FROM_EVENTS))
})

test('the rows of a few groups are joined, not stored', async () => {
  const place = await opened()
  await place.open({ kept_from_groups: 3 })
  await append(place.log, (story) => whole(story, 'g0'))
  await place.sink.loadOnce()
  expect(await place.ask(KEPT)).toEqual([[0]])
  await append(place.log, (story) => {
    whole(story, 'g1')
    whole(story, 'g2')
  })
  await place.sink.loadOnce()
  expect(await place.ask(KEPT)).toEqual([[3]])
})

test('a file of an earlier release, which stores no such rows, is adopted as it is', async () => {
  const place = await opened()
  await append(place.log, (story) => whole(story, 'g0'))
  await place.sink.loadOnce()
  const before = await place.ask(ASKED)
  await place.sink.close()
  const database = await openDatabase({ file: place.file, access: 'owner' })
  const connection = await database.connect()
  await connection.run('DROP VIEW rewards; DROP TABLE internal.kept_rewards; DROP TABLE internal.rewarded_groups')
  await connection.run(`UPDATE internal.meta SET value = 'of an earlier release' WHERE name = 'views'`)
  connection.disconnectSync()
  await database.close()
  place.sink = await openDuckDbSink({ file: place.file, log: place.log, catalogue, views, serve: false })
  expect(await place.ask(ASKED)).toEqual(before)
  await append(place.log, (story) => whole(story, 'g1'))
  await place.sink.loadOnce()
  expect(await place.ask(ASKED)).toEqual(await place.ask(FROM_EVENTS))
})
