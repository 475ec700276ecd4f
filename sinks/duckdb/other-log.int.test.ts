import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { changed } from '../../infra/log/conformance/altered-log.ts'
import { MemoryBroker } from '../../infra/log/memory/broker.ts'
import { memoryLog } from '../../infra/log/memory/memory-log.ts'
import type { Log } from '../../infra/log/port/log.ts'
import { changelogTopic } from '../../infra/runtime/internal/internal-topics.ts'
import { catalogue, views } from '../../streams/vocabulary.ts'
import { emptyTables } from '../../testing/duckdb/empty-tables.ts'
import { append, createTopics } from '../../testing/duckdb/recorded-tower.ts'
import { WrongLogError } from '../wrong-log.ts'
import { type DuckDbSink, openDuckDbSink } from './duckdb-sink.ts'

const SAMPLED = 'policy.completions_sampled'

let folder = ''
let broker: MemoryBroker
let log: Log
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sink-'))
  await emptyTables(file())
  broker = new MemoryBroker('log')
  log = memoryLog({ broker })
  await createTopics(log)
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const file = () => join(folder, 'test.duckdb')

async function withSink<T>(of: Log, use: (sink: DuckDbSink) => Promise<T>): Promise<T> {
  const sink = await openDuckDbSink({ catalogue, views, file: file(), serve: false, log: of })
  try {
    return await use(sink)
  } finally {
    await sink.close()
  }
}

const load = (of: Log = log) => withSink(of, async (sink) => (await sink.loadOnce()).rows)

async function makeAgain(topic: string): Promise<void> {
  broker.deleteTopic(topic)
  await createTopics(log)
}

/** @returns the message */
async function refused(loading: Promise<unknown>): Promise<string> {
  const failure = await loading.then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(failure).toBeInstanceOf(WrongLogError)
  return (failure as Error).message
}

async function inFile(sql: string): Promise<unknown[][]> {
  const instance = await DuckDBInstance.create(file())
  const connection = await instance.connect()
  try {
    return (await connection.runAndReadAll(sql)).getRowsJson()
  } finally {
    connection.disconnectSync()
    instance.closeSync()
  }
}

const groups = (count: number, name = 'g') =>
  append(log, (story) => {
    for (let at = 0; at < count; at++) story.sampled(`${name}${at}`, [0])
  })

describe('a topic that was deleted and recreated', () => {
  for (const [count, how] of [
    [1, 'fewer'],
    [8, 'as many'],
    [40, 'more'],
  ] as const) {
    test(`with ${how} records than were loaded stops the sink, which loads nothing of it`, async () => {
      await groups(8)
      await load()
      await makeAgain(SAMPLED)
      await groups(count, 'other')
      const message = await refused(load())
      expect(message).toMatch(
        /policy\.completions_sampled partition \d was read up to offset \d+, and the topic was deleted/,
      )
      expect(message).toContain(`${file()} was loaded from another log`)
      expect(message).toContain('Delete the file')
      expect(await inFile(`SELECT count(*) FROM ${SAMPLED}`)).toEqual([['8']])
      expect(await inFile(`SELECT count(*) FROM ${SAMPLED} WHERE group_id LIKE 'other%'`)).toEqual([['0']])
    })
  }

  test('is detected by the next pass of a running sink', async () => {
    await groups(8)
    await withSink(log, async (sink) => {
      await sink.loadOnce()
      await makeAgain(SAMPLED)
      await groups(40, 'other')
      await refused(sink.loadOnce())
      await refused(sink.run(new AbortController().signal))
    })
  })

  test('during a pass: nothing that was read of the new one is committed', async () => {
    await groups(8)
    await load()
    await groups(8, 'more')
    let made_again = false
    const between = changed(log, {
      read: async (request) => {
        if (!made_again) {
          made_again = true
          await makeAgain(SAMPLED)
          await groups(40, 'other')
        }
        return await log.read(request)
      },
      // Compared by topic id alone, as if the last records were no longer readable.
      beginningOffsets: async (topic) => (await log.endOffsets(topic)).map(() => 1_000n),
    })
    expect(await refused(load(between))).toContain('the topic was deleted and made again')
    expect(await inFile(`SELECT count(*) FROM ${SAMPLED}`)).toEqual([['8']])
  })

  test('or only deleted, or a changelog, stops it as well', async () => {
    await append(log, (story) => story.sampled('g0', [0]).raw(changelogTopic('form-groups'), 0, STATE))
    await load()
    await makeAgain(changelogTopic('form-groups'))
    expect(await refused(load())).toContain('_changelog.form-groups partition 0')
    broker.deleteTopic(SAMPLED)
    expect(await refused(load())).toContain('the topic is not there any more')
  })
})

test('an older copy put in place of the log is detected by the last record that was loaded', async () => {
  await groups(8)
  await load()
  const older = memoryLog({ broker: new MemoryBroker('log') })
  await createTopics(older)
  await append(older, (story) => {
    for (let at = 0; at < 40; at++) story.sampled(`other${at}`, [0])
  })
  expect(await refused(load(older))).toMatch(/the last record that was read, at offset \d+, is another one now/)
})

describe('a file of an earlier release, whose positions are offsets alone', () => {
  /** As the previous release made it. */
  async function asBefore(): Promise<void> {
    await inFile('ALTER TABLE internal.positions DROP COLUMN seen')
  }

  test('is adopted once, not rebuilt: positions get the topic that they were read in, and loading continues', async () => {
    await append(log, (story) =>
      story
        .sampled('g0', [0])
        .raw(SAMPLED, 0, { key: 'garbage', headers: [], value: Buffer.from('garbage') })
        .raw(SAMPLED, 1, { key: 'garbage', headers: [], value: Buffer.from('garbage') }),
    )
    await load()
    const before = await inFile('FROM internal.positions ORDER BY ALL')
    await asBefore()
    expect(await load()).toBe(0)
    expect(await inFile('FROM internal.positions ORDER BY ALL')).toEqual(before)
    await groups(3, 'more')
    await load()
    expect(await inFile(`SELECT count(*) FROM ${SAMPLED}`)).toEqual([['4']])
  })

  test('is refused where its tables do not hold what the log has at its positions', async () => {
    await groups(8)
    await load()
    await asBefore()
    await makeAgain(SAMPLED)
    await groups(40, 'other')
    expect(await refused(load())).toMatch(/no table holds the record at offset \d+: another one was loaded there/)
    expect(await inFile(`SELECT count(*) FROM ${SAMPLED}`)).toEqual([['8']])
  })

  test('is refused where its positions are beyond the end', async () => {
    await groups(8)
    await load()
    await asBefore()
    await makeAgain(SAMPLED)
    expect(await refused(load())).toContain('it ends at offset 0')
  })
})

const STATE = { key: 'g0', headers: [], value: Buffer.from('{"state_version":1,"state":{}}') }
