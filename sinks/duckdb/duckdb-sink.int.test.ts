import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { memoryLog } from '../../infra/log/memory/memory-log.ts'
import { defineEvent, type EventType } from '../../schemas/declare/event.ts'
import { float64, int32, nullable, utf8 } from '../../schemas/declare/logical-types.ts'
import { clockTicked } from '../../schemas/events/clock.ts'
import { modelPublished } from '../../schemas/events/model.ts'
import { catalogue, views } from '../../streams/vocabulary.ts'
import { append, createTopics, eventOf, PARTITIONS } from '../../testing/duckdb/recorded-tower.ts'
import { published } from '../../testing/published-model.ts'
import { WrongLogError } from '../wrong-log.ts'
import { type DuckDbSink, type DuckDbSinkOptions, openDuckDbSink } from './duckdb-sink.ts'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sink-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

async function withSink(
  options: Omit<DuckDbSinkOptions, 'file' | 'catalogue' | 'views'> & { catalogue?: readonly EventType[] },
  use: (sink: DuckDbSink) => Promise<void>,
) {
  const sink = await openDuckDbSink({ catalogue, views, file: join(folder, 'test.duckdb'), serve: false, ...options })
  try {
    await use(sink)
  } finally {
    await sink.close()
  }
}

async function ask(sink: DuckDbSink, sql: string): Promise<unknown[][]> {
  const connection = await sink.connect()
  try {
    return (await connection.runAndReadAll(sql)).getRowsJson()
  } finally {
    connection.disconnectSync()
  }
}

describe('loading', () => {
  test('views answer on an empty log', async () => {
    const log = memoryLog()
    await withSink({ log }, async (sink) => {
      expect(await sink.loadOnce()).toEqual({ rows: 0, records: 0, caught_up: true })
      for (const view of ['rewards', 'groups', 'advantages', 'completion_fates'])
        expect(await ask(sink, `FROM ${view}`)).toEqual([])
      expect(await ask(sink, 'SELECT sum(completions) FROM funnel')).toEqual([['0']])
      expect(await ask(sink, 'FROM funnel_check')).toEqual([['0', '0', '0', '0', true]])
    })
  })

  test('every column of every view and table has a description', async () => {
    await withSink({ log: memoryLog() }, async (sink) => {
      const silent = await ask(sink, `SELECT name, "column" FROM docs WHERE about IS NULL AND kind = 'view'`)
      expect(silent).toEqual([])
    })
  })

  test('rows of many kinds are loaded as they were written, over transactions of any size', async () => {
    const log = memoryLog()
    await createTopics(log)
    await append(log, (story) =>
      story.requested('g1', 4).sampled('g1', [0, 1, 2, 3]).scored('g1', [20, 0, 0, -5]).formed('g1', [20, 0, 0, -5]),
    )
    await withSink({ log, batch_bytes: 1 }, async (sink) => {
      expect(await sink.loadOnce()).toEqual({ rows: 13, records: 4, caught_up: true })
      expect(
        await ask(
          sink,
          `SELECT ce_id, "row", completion_index, placed.x, reward_components['base'], ce_time::VARCHAR
        FROM tower.completions_scored WHERE reward > 0`,
        ),
      ).toEqual([['scored-g1', 0, 0, 0.5, 20, '2026-01-01 00:00:00+00']])
      expect(
        await ask(sink, 'SELECT token_ids, logprobs FROM policy.completions_sampled WHERE completion_index = 0'),
      ).toEqual([
        [
          [1, 2, 3],
          [-0.5, -0.25, -1],
        ],
      ])
      expect(
        await ask(sink, `SELECT (start."value"->>'$.blocks[0].edge')::DOUBLE, prompt.text FROM rollout.requested`),
      ).toEqual([[0.25, 'How far?']])
      expect(
        await ask(
          sink,
          'SELECT dataset, split, policy, model_version, reward, advantage FROM rewards ORDER BY reward DESC LIMIT 1',
        ),
      ).toEqual([['side_block', 'train', 'random-legal', '4', 20, 16.25]])
    })
  })

  test('an event that the log holds twice is in its table once, the first one, in one batch or in two', async () => {
    const log = memoryLog()
    await createTopics(log)
    await append(log, (story) => story.sampled('g1', [0, 1]).sampled('g1', [0, 1]))
    await withSink({ log }, async (sink) => {
      await sink.loadOnce()
      await append(log, (story) => story.sampled('g2', [0]).sampled('g1', [0, 1]))
      expect((await sink.loadOnce()).caught_up).toBe(true)
      expect(await ask(sink, 'SELECT ce_id, "row", log_offset FROM policy.completions_sampled ORDER BY ALL')).toEqual([
        ['sampled-g1', 0, '0'],
        ['sampled-g1', 1, '0'],
        ['sampled-g2', 0, expect.any(String)],
      ])
    })
  })

  test('a tick that is in every partition is one row', async () => {
    const log = memoryLog()
    await createTopics(log)
    const tick = { tick: 't1', clock: 'virtual' as const, time: '2026-01-01T00:00:00.000Z' }
    const say = () =>
      append(log, (story) => {
        for (let partition = 0; partition < PARTITIONS; partition += 1)
          story.eventIn(clockTicked, eventOf(clockTicked, 't1', 't1', tick), partition)
      })
    await say()
    await withSink({ log, batch_bytes: 1 }, async (sink) => {
      await sink.loadOnce()
      await say()
      await sink.loadOnce()
      expect(await ask(sink, 'SELECT count(*) FROM clock.ticked')).toEqual([['1']])
    })
  })

  test('a model that is published to every partition is one row', async () => {
    const log = memoryLog()
    await createTopics(log)
    await append(log, (story) => {
      const event = published({ model_id: 'm1', version: 1 })
      for (let partition = 0; partition < PARTITIONS; partition += 1) story.eventIn(modelPublished, event, partition)
    })
    await withSink({ log, batch_bytes: 1 }, async (sink) => {
      await sink.loadOnce()
      expect(await ask(sink, 'SELECT model_id, version FROM model.published')).toEqual([['m1', '1']])
    })
  })

  test('an unreadable record is listed with its reason, and the records after it are loaded', async () => {
    const log = memoryLog()
    await createTopics(log)
    await append(log, (story) =>
      story
        .raw('policy.completions_sampled', 0, { key: 'k', headers: [], value: Buffer.from('?') })
        .sampled('g1', [0])
        .raw('dead_letters', 0, { key: 'k', headers: [], value: Buffer.from('?') }),
    )
    await withSink({ log }, async (sink) => {
      expect((await sink.loadOnce()).caught_up).toBe(true)
      expect(await ask(sink, 'SELECT count(*) FROM policy.completions_sampled')).toEqual([['1']])
      expect(
        await ask(sink, 'SELECT topic, "partition", "offset", error FROM internal.unreadable ORDER BY topic'),
      ).toEqual([
        ['dead_letters', 0, '0', expect.stringContaining('expected JSON')],
        ['policy.completions_sampled', 0, '0', expect.stringContaining('ce_specversion')],
      ])
    })
  })

  test('a file that was loaded from another log is refused', async () => {
    const log = memoryLog()
    await createTopics(log)
    await append(log, (story) => story.sampled('g1', [0]))
    await withSink({ log }, async (sink) => void (await sink.loadOnce()))
    const other = memoryLog()
    await createTopics(other)
    await withSink({ log: other }, async (sink) => {
      await expect(sink.loadOnce()).rejects.toThrow(WrongLogError)
      await expect(sink.run(new AbortController().signal)).rejects.toThrow(/loaded from another log/)
    })
  })

  test('a file whose name would hide a schema is refused', async () => {
    const file = join(folder, 'tower.duckdb')
    await expect(openDuckDbSink({ file, log: memoryLog(), catalogue, views })).rejects.toThrow(
      /is also the name of a schema/,
    )
  })

  test('the second owner is told which process is the first', async () => {
    await withSink({ log: memoryLog() }, async () => {
      await expect(
        openDuckDbSink({ file: join(folder, 'test.duckdb'), log: memoryLog(), catalogue, views }),
      ).rejects.toThrow(`pid ${process.pid}`)
    })
  })
})

describe('changed declarations', () => {
  const fields = { thing_id: utf8('which'), weight: int32('in grams') }
  const v1 = defineEvent({
    type: 'thing.weighed',
    version: 1,
    key: 'thing_id',
    encoding: 'json',
    retention: 'derived',
    about: 'For a test.',
    row: fields,
  })
  const v2 = { ...fields, note: nullable(utf8('what else')) }
  const added = defineEvent({
    ...v1,
    key: 'thing_id',
    version: 2,
    row: v2,
    earlier: [{ version: 1, row: fields }],
  })
  const noted = defineEvent({
    ...v1,
    key: 'thing_id',
    version: 2,
    row: v2,
    earlier: [
      { version: 1, row: fields, upcast: (row: Record<string, unknown>) => ({ ...row, note: `was ${row.weight} g` }) },
    ],
  })
  const kilograms = [
    {
      version: 1,
      row: fields,
      upcast: (row: Record<string, unknown>) => ({ ...row, weight: Number(row.weight) / 1000 }),
    },
  ]
  const changed = defineEvent({
    ...v1,
    key: 'thing_id',
    version: 2,
    row: { ...fields, weight: float64('in kilograms') },
    earlier: kilograms,
  })

  async function loaded() {
    const log = memoryLog()
    await createTopics(log, [...catalogue, v1])
    await append(log, (story) =>
      story.event(v1, eventOf(v1, 'e1', 't1', { thing_id: 't1', weight: 1500 })).sampled('g1', [0]),
    )
    await withSink({ log, catalogue: [...catalogue, v1] }, async (sink) => void (await sink.loadOnce()))
    return log
  }

  test('a column that may be null is added, and nothing is loaded again', async () => {
    const log = await loaded()
    await append(log, (story) =>
      story.event(added, eventOf(added, 'e2', 't1', { thing_id: 't1', weight: 2, note: 'new' })),
    )
    await withSink({ log, catalogue: [...catalogue, added] }, async (sink) => {
      expect((await sink.loadOnce()).rows).toBe(1)
      expect(await ask(sink, 'SELECT ce_id, weight, note FROM thing.weighed ORDER BY ALL')).toEqual([
        ['e1', 1500, null],
        ['e2', 2, 'new'],
      ])
    })
  })

  test('a column that an upcaster gives a value for earlier records is loaded for them too', async () => {
    const log = await loaded()
    await append(log, (story) =>
      story.event(noted, eventOf(noted, 'e2', 't1', { thing_id: 't1', weight: 2, note: null })),
    )
    await withSink({ log, catalogue: [...catalogue, noted] }, async (sink) => {
      expect((await sink.loadOnce()).rows).toBe(2)
      expect(await ask(sink, 'SELECT ce_id, weight, note FROM thing.weighed ORDER BY ALL')).toEqual([
        ['e1', 1500, 'was 1500 g'],
        ['e2', 2, null],
      ])
    })
  })

  test('any other change rebuilds the table from the log; the old one answers until then', async () => {
    const log = await loaded()
    await append(log, (story) => story.event(changed, eventOf(changed, 'e2', 't1', { thing_id: 't1', weight: 2.5 })))
    await withSink({ log, catalogue: [...catalogue, changed] }, async (sink) => {
      expect(await ask(sink, 'SELECT ce_id, weight FROM thing.weighed')).toEqual([['e1', 1500]])
      expect((await sink.loadOnce()).rows).toBe(2)
      expect(await ask(sink, 'SELECT ce_id, weight FROM thing.weighed ORDER BY ALL')).toEqual([
        ['e1', 1.5],
        ['e2', 2.5],
      ])
      expect(await ask(sink, `SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE '%building'`)).toEqual([['0']])
    })
    await withSink({ log, catalogue: [...catalogue, changed] }, async (sink) => {
      expect((await sink.loadOnce()).rows).toBe(0)
      await append(log, (story) => story.event(changed, eventOf(changed, 'e3', 't1', { thing_id: 't1', weight: 3.5 })))
      expect((await sink.loadOnce()).rows).toBe(1)
    })
  })

  test('an interrupted rebuild resumes, also into yet another shape', async () => {
    const log = await loaded()
    await withSink({ log, catalogue: [...catalogue, changed] }, async () => {})
    await withSink({ log, catalogue: [...catalogue, changed] }, async () => {})
    await withSink({ log, catalogue: [...catalogue, v1] }, async (sink) => {
      await sink.loadOnce()
      expect(await ask(sink, 'SELECT ce_id, weight FROM thing.weighed')).toEqual([['e1', 1500]])
    })
    await withSink({ log, catalogue: [...catalogue, changed] }, async (sink) => {
      await sink.loadOnce()
      expect(await ask(sink, 'SELECT ce_id, weight FROM thing.weighed')).toEqual([['e1', 1.5]])
    })
  })
})
