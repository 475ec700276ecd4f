import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openDatabase } from '../../../sinks/duckdb/database.ts'
import { openDuckDbSink } from '../../../sinks/duckdb/duckdb-sink.ts'
import { catalogue, views } from '../../../streams/vocabulary.ts'
import { temporaryFolder } from '../../../testing/temporary-folder.ts'
import { CONSUMER } from './inputs.ts'
import { runTrainingSchedule } from './schedule.ts'
import type { TrainingWorld } from './world.ts'

const SEEDS = ['4', '13', '25', '29']

test.each(SEEDS)('the views tell of each group and of each count what the log does (seed %s)', async (seed) => {
  const made: { world?: TrainingWorld } = {}
  const { violations, faults } = await runTrainingSchedule(seed, {}, {}, (world) => {
    made.world = world
  })
  expect(violations).toEqual([])
  expect(faults.length).toBeGreaterThan(0)
  const { book, reading } = made.world as TrainingWorld
  const file = join(await temporaryFolder(), 'trained.duckdb')
  const sink = await openDuckDbSink({ file, log: reading.log, catalogue, views, serve: false })
  await sink.loadOnce()
  await sink.close()
  const database = await openDatabase({ file, access: 'read_only' })
  const connection = await database.connect()
  const asked = async (sql: string) => (await connection.runAndReadAll(sql)).getRowObjectsJson()
  try {
    const told = await asked(`SELECT group_id, state FROM ledger WHERE consumer = '${CONSUMER}' ORDER BY group_id`)
    const entries = [...book.entries.values()].map(({ group_id, state }) => ({ group_id, state }))
    expect(told.filter(({ state }) => state !== 'not_subscribed')).toEqual(
      entries.sort((one, other) => (one.group_id < other.group_id ? -1 : 1)),
    )
    const counted = 'matching::int AS matching, durable::int AS durable, dropped::int AS dropped, lost::int AS lost'
    const more = 'waiting::int AS waiting, missing::int AS missing, ahead::int AS ahead'
    expect(await asked(`SELECT ${counted}, ${more} FROM consumers`)).toEqual([
      {
        ...{ matching: entries.length, durable: book.count('durable'), dropped: book.count('dropped') },
        ...{ lost: 0, waiting: 0, missing: 0, ahead: 0 },
      },
    ])
  } finally {
    connection.disconnectSync()
    await database.close()
  }
})
