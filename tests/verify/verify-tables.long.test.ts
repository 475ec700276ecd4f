import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Event } from '../../schemas/declare/event.ts'
import { rolloutRequested } from '../../schemas/events/rollout.ts'
import { encodeEvent } from '../../schemas/wire/codec.ts'
import { partitionOf } from '../../schemas/wire/routing.ts'
import { openSql } from '../../sinks/duckdb/sql-client.ts'
import { runUntilIdle } from '../../testing/run-until-idle.ts'
import { requested } from '../../testing/tower-events.ts'
import { ChangedTables } from './changed-tables.ts'
import { RecordedFolder } from './recorded-folder.ts'

let recorded: RecordedFolder
beforeAll(async () => {
  recorded = await RecordedFolder.make()
}, 60_000)
afterAll(() => recorded.remove())

test('tables that were loaded from the log are equal to it, row by row', async () => {
  const report = await recorded.verify({ tables: true })
  expect(report).toMatchObject({ passed: true, tables: { differences: 0, not_loaded: 0, unreadable: 0, left_out: [] } })
  const session = await openSql({ file: recorded.folder.duckdb_file })
  const { batches } = await session.query('select count(*) from tower.completions_scored')
  for await (const [[scored]] of batches as AsyncIterable<[[string]]>)
    expect(report.tables?.rows).toBeGreaterThan(3 * Number(scored))
  await session.close()
})

describe('a difference is', () => {
  test.each([
    [
      'a changed value',
      'update tower.completions_scored set reward = reward + 1 where completion_index = 0',
      /column reward: expected/,
    ],
    ['a changed envelope', "update rollout.group_formed set ce_source = '/nobody'", /column ce_source/],
    [
      'a missing row',
      'delete from tower.completions_scored where completion_index = 1',
      /has 2 rows of it, expected 3/,
    ],
    ['an event that has no rows', 'delete from rollout.requested', /has no row of it/],
    [
      'a row that no record has',
      "insert into rollout.group_formed select * replace ('x' as ce_id, 4096 as log_offset) from rollout.group_formed limit 1",
      /offsets that they were not loaded from/,
    ],
    [
      'a row of a record that another program put there',
      "insert into rollout.group_formed select * replace ('x' as ce_id) from rollout.group_formed limit 1",
      /rows of it, expected/,
    ],
    [
      'a dead letter that is none',
      "insert into internal.dead_letters values (0, 0, 'p', 'bug', 't', 0, 0, 'e', null, null, null, null)",
      /offsets that they were not loaded from/,
    ],
    [
      'a row of a partition that the log does not have',
      'update rollout.requested set log_partition = 40',
      /offsets that they were not loaded from/,
    ],
    ['a table that lacks a column', 'alter table rollout.requested drop column purpose', /has no column purpose/],
    [
      'a record that is listed as unreadable and can be read',
      "insert into internal.unreadable select 'rollout.requested', log_partition, log_offset, ce_id, 'lost' from rollout.requested limit 1",
      /lists it \(lost\), and it can be read/,
    ],
    [
      'an unreadable record that the log does not have',
      "insert into internal.unreadable values ('rollout.requested', 0, 4096, null, 'none')",
      /offsets that they were not loaded from/,
    ],
    [
      'a position beyond the end of the log',
      "update internal.positions set next = next + 10 where topic = 'rollout.requested'",
      /loaded up to offset \d+, and the log ends at/,
    ],
    ['a table that is gone', 'drop table policy.completions_sampled', /cannot be read/],
    ['a changed stored reward', 'update internal.kept_rewards set reward = 1', /^rewards shows/],
    [
      'a kept advantage that was changed',
      'update internal.kept_rewards set advantage = advantage + 1e-6',
      /^rewards shows/,
    ],
    ['a stored row twice', 'insert into internal.kept_rewards from internal.kept_rewards limit 1', /^rewards shows/],
    ['a missing stored row', 'delete from internal.kept_rewards where completion_index = 1', /^rewards shows/],
    ['a group whose rows are stored and joined', 'update internal.rewarded_groups set kept = false', /^rewards shows/],
  ])('%s', async (_what, statement, message) => {
    const tables = await ChangedTables.open(recorded)
    await tables.run(statement)
    const { differences, found } = await tables.verify()
    await tables.close()
    expect(differences).toBeGreaterThan(0)
    expect(found[0]).toMatchObject({ kind: 'table', message: expect.stringMatching(message) })
  })
})

test('records that are not loaded yet, in the log twice, or unreadable are no differences', async () => {
  const again = await RecordedFolder.make()
  const { log } = again.folder
  const producer = await log.producer({ transactional_id: 'test' })
  const append = async (...values: readonly (Uint8Array | undefined)[]) => {
    const event = requested({ group_id: 'again' }, 'once more') as unknown as Event
    const { key, headers, value } = encodeEvent(rolloutRequested, event)
    const transaction = producer.begin()
    for (const other of values)
      transaction.append(rolloutRequested.type, partitionOf(key, 4), { key, headers, value: other ?? value })
    await transaction.commit()
  }
  await append(undefined, undefined, Buffer.from('{'))
  expect(await again.verify({ tables: true })).toMatchObject({
    passed: true,
    tables: { not_loaded: 3, differences: 0 },
  })
  await runUntilIdle(again.folder, again.wiring)
  expect(await again.verify({ tables: true })).toMatchObject({
    passed: true,
    tables: { not_loaded: 0, unreadable: 1, differences: 0 },
  })
  await producer.close()
  await again.remove()
}, 60_000)

test('missing tables are reported', async () => {
  const duckdb_file = join(recorded.folder.dir, 'none.duckdb')
  const report = await recorded.verify({ tables: true }, { duckdb_file })
  expect(report).toMatchObject({ passed: true, tables: null })
  expect(report.not_covered).toContain('the DuckDB tables: nothing has been loaded yet')
})
