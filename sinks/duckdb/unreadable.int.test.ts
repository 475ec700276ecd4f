import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import { type Blobs, BlobsAwayError } from '../../infra/blobs/blobs.ts'
import { directoryBlobs } from '../../infra/blobs/directory.ts'
import { memoryLog } from '../../infra/log/memory/memory-log.ts'
import type { LogRecord } from '../../infra/log/port/log.ts'
import { ForeignRecordError } from '../../infra/runtime/internal/foreign-record.ts'
import { skipRecord } from '../../infra/runtime/internal/skipped-records.ts'
import { defineEvent } from '../../schemas/declare/event.ts'
import { int32, nullable, utf8 } from '../../schemas/declare/logical-types.ts'
import { catalogue, views } from '../../streams/vocabulary.ts'
import { emptyTables } from '../../testing/duckdb/empty-tables.ts'
import { append, createTopics, eventOf } from '../../testing/duckdb/recorded-tower.ts'
import { temporaryFolder } from '../../testing/temporary-folder.ts'
import { type DuckDbSink, openDuckDbSink } from './duckdb-sink.ts'

let folder = ''
let log = memoryLog()
beforeEach(async () => {
  folder = await temporaryFolder()
  await emptyTables(join(folder, 'test.duckdb'))
  log = memoryLog()
  await createTopics(log)
})

const open = (blobs: Blobs) =>
  openDuckDbSink({ catalogue, views, log, blobs, file: join(folder, 'test.duckdb'), serve: false, poll_ms: 10 })

async function ask(sink: DuckDbSink, sql: string): Promise<unknown[][]> {
  const connection = await sink.connect()
  try {
    return (await connection.runAndReadAll(sql)).getRowsJson()
  } finally {
    connection.disconnectSync()
  }
}

const LOADED = 'SELECT ce_id, len(token_ids)::INTEGER FROM policy.completions_sampled ORDER BY ALL'
const UNREADABLE = 'SELECT topic, "partition", "offset", error FROM internal.unreadable ORDER BY ALL'

/** Appends a completion whose columns are blobs, between two others. */
async function appendLarge(blobs: Blobs, group_id = 'large'): Promise<void> {
  const put: Promise<unknown>[] = []
  await append(log, (story) => {
    story.sampled('before', [0])
    for (const { bytes, ref } of story.sampledLong(group_id, 20_000)) put.push(blobs.put(bytes, ref.media_type))
    story.sampled('after', [0])
  })
  await Promise.all(put)
}

describe('an unavailable blob store', () => {
  test.each([
    ['its folder does not exist', (root: string) => rename(root, `${root}-away`)],
    [
      'its folder is not mounted',
      async (root: string) => {
        await rename(root, `${root}-away`)
        await mkdir(root)
      },
    ],
  ])('%s: loading waits and loses nothing, in this process and in the next', async (_, takeAway) => {
    const root = join(folder, 'blobs')
    const made = join(folder, 'made')
    await appendLarge(directoryBlobs(root, { made }))
    await takeAway(root)
    for (let process = 0; process < 2; process++) {
      const sink = await open(directoryBlobs(root, { made }))
      await expect(sink.loadOnce()).rejects.toThrow(/completions_sampled partition \d offset \d+: .*is it mounted\?/)
      expect(await ask(sink, UNREADABLE)).toEqual([])
      await sink.close()
    }
    await rm(root, { recursive: true, force: true })
    await rename(`${root}-away`, root)
    const sink = await open(directoryBlobs(root, { made }))
    expect((await sink.loadOnce()).caught_up).toBe(true)
    expect(await ask(sink, LOADED)).toEqual([
      ['sampled-after', 3],
      ['sampled-before', 3],
      ['sampled-large', 20_000],
    ])
    await sink.close()
  })

  test.each([
    ['it cannot be reached', new BlobsAwayError('away')],
    ['its server refuses', new BlobsAwayError('503')],
    ['its disk fails', Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })],
    ['an error of unknown kind', new Error('something')],
    ['a bug', new TypeError('x is not a function')],
  ])('%s: the running sink reports it, retries, and loads when it is over', async (_, error) => {
    const whole = directoryBlobs(join(folder, 'blobs'))
    await appendLarge(whole)
    let is_away = true
    const get: Blobs['get'] = async (ref) => {
      if (is_away) throw error
      return whole.get(ref)
    }
    const sink = await open({ ...whole, get })
    const stop = new AbortController()
    const running = sink.run(stop.signal)
    await expect.poll(() => sink.health.trouble).toContain(error.message)
    expect(await ask(sink, UNREADABLE)).toEqual([])
    is_away = false
    await expect.poll(() => ask(sink, LOADED)).toContainEqual(['sampled-large', 20_000])
    await expect.poll(() => sink.health.trouble).toBeUndefined()
    stop.abort()
    await running
    await sink.close()
  })
})

describe('a record that cannot be read', () => {
  const root = () => join(folder, 'blobs')
  const long = ['sampled-large', 20_000]

  /** A blob store, and the file of its large blob, for the test to move or damage. */
  async function missing() {
    const blobs = directoryBlobs(root())
    await appendLarge(blobs)
    await blobs.put(Buffer.from('another'), 'text/plain')
    const files = (await readdir(root(), { recursive: true })).filter((name) => name.includes('/'))
    const [file] = (
      await Promise.all(files.map(async (name) => ({ name, size: (await stat(join(root(), name))).size })))
    )
      .sort((a, b) => b.size - a.size)
      .map(({ name }) => join(root(), name))
    return { blobs, file: String(file) }
  }

  test('its blob is missing: the records after it are loaded, and it is, once, when the blob is back', async () => {
    const { blobs, file } = await missing()
    await rename(file, join(folder, 'kept'))
    const sink = await open(blobs)
    expect((await sink.loadOnce()).caught_up).toBe(true)
    expect(await ask(sink, UNREADABLE)).toEqual([
      ['policy.completions_sampled', expect.any(Number), expect.any(String), expect.stringContaining('is not in')],
    ])
    expect(sink.health.unreadable).toEqual({ 'policy.completions_sampled': 1 })
    expect(await ask(sink, LOADED)).toHaveLength(2)
    await rename(join(folder, 'kept'), file)
    expect(await sink.loadOnce()).toEqual({ rows: 1, records: 1, caught_up: true })
    expect(await sink.loadOnce()).toEqual({ rows: 0, records: 0, caught_up: true })
    expect(await ask(sink, LOADED)).toContainEqual(long)
    expect(await ask(sink, UNREADABLE)).toEqual([])
    expect(sink.health.unreadable).toEqual({})
    await sink.close()
  })

  test('its blob is damaged: the running sink loads it when the blob was restored, without a restart', async () => {
    const { blobs, file } = await missing()
    const whole = await readFile(file)
    await writeFile(file, whole.subarray(1))
    const sink = await open(blobs)
    const stop = new AbortController()
    const running = sink.run(stop.signal)
    await expect.poll(() => sink.health.unreadable).toEqual({ 'policy.completions_sampled': 1 })
    expect(await ask(sink, UNREADABLE)).toEqual([
      ['policy.completions_sampled', expect.any(Number), expect.any(String), expect.stringMatching(/expected SHA-256/)],
    ])
    await writeFile(file, whole)
    await expect.poll(() => ask(sink, LOADED), { timeout: 20_000 }).toContainEqual(long)
    await expect.poll(() => sink.health.unreadable).toEqual({})
    expect(sink.health.retries).toBe(0)
    stop.abort()
    await running
    await sink.close()
  })

  test('a record that an earlier release called unreadable during an outage is loaded at the next start', async () => {
    const { blobs, file } = await missing()
    await rename(file, join(folder, 'kept'))
    const before = await open(blobs)
    await before.loadOnce()
    const connection = await before.connect()
    // The error that such a release recorded, whatever the cause.
    await connection.run(`UPDATE internal.unreadable SET error = 'http://127.0.0.1:1: answered 503: '`)
    connection.disconnectSync()
    await before.close()
    await rename(join(folder, 'kept'), file)
    const sink = await open(blobs)
    const stop = new AbortController()
    const running = sink.run(stop.signal)
    await expect.poll(() => ask(sink, LOADED)).toContainEqual(long)
    expect(await ask(sink, 'SELECT count(*)::INTEGER FROM internal.unreadable')).toEqual([[0]])
    stop.abort()
    await running
    await sink.close()
  })

  test('while its store is unavailable it stays unreadable, and new records are loaded', async () => {
    const { blobs, file } = await missing()
    await rename(file, join(folder, 'kept'))
    let is_away = false
    const get: Blobs['get'] = async (ref) => {
      if (is_away) throw new BlobsAwayError('away')
      return blobs.get(ref)
    }
    const sink = await open({ ...blobs, get })
    await sink.loadOnce()
    is_away = true
    await append(log, (story) => story.sampled('later', [0]))
    expect((await sink.loadOnce()).caught_up).toBe(true)
    expect(await ask(sink, LOADED)).toContainEqual(['sampled-later', 3])
    expect(sink.health.unreadable).toEqual({ 'policy.completions_sampled': 1 })
    is_away = false
    await rename(join(folder, 'kept'), file)
    await sink.loadOnce()
    expect(await ask(sink, LOADED)).toContainEqual(long)
    await sink.close()
  })

  test('a second delivery that was loaded meanwhile stays the only one', async () => {
    const { blobs, file } = await missing()
    await rename(file, join(folder, 'kept'))
    const sink = await open(blobs)
    await sink.loadOnce()
    await rename(join(folder, 'kept'), file)
    await append(log, (story) => void story.sampledLong('large', 20_000))
    await sink.loadOnce()
    expect((await ask(sink, LOADED)).filter(([id]) => id === 'sampled-large')).toEqual([long])
    expect(sink.health.unreadable).toEqual({})
    await sink.close()
  })

  test('its schema is registered in a later release: it is loaded then, and no table is rebuilt', async () => {
    const fields = { thing_id: utf8('which'), weight: int32('in grams') }
    const about = { type: 'thing.weighed', key: 'thing_id', encoding: 'json', retention: 'derived' } as const
    const v1 = defineEvent({ ...about, version: 1, about: 'For a test.', row: fields })
    const v2 = defineEvent({
      ...about,
      version: 2,
      about: 'For a test.',
      row: { ...fields, note: nullable(utf8('what else')) },
      earlier: [{ version: 1, row: fields }],
    })
    await createTopics(log, [...catalogue, v1])
    await append(log, (story) =>
      story
        .event(v1, eventOf(v1, 'e1', 't1', { thing_id: 't1', weight: 1 }))
        .event(v2, eventOf(v2, 'e2', 't1', { thing_id: 't1', weight: 2, note: 'new' })),
    )
    const file = join(folder, 'test.duckdb')
    const older = await openDuckDbSink({ catalogue: [...catalogue, v1], views, log, file, serve: false })
    await older.loadOnce()
    expect(older.health.unreadable).toEqual({ 'thing.weighed': 1 })
    await older.close()
    const newer = await openDuckDbSink({ catalogue: [...catalogue, v2], views, log, file, serve: false })
    expect(await newer.loadOnce()).toEqual({ rows: 1, records: 1, caught_up: true })
    expect(await ask(newer, 'SELECT ce_id, weight, note FROM thing.weighed ORDER BY ALL')).toEqual([
      ['e1', 1, null],
      ['e2', 2, 'new'],
    ])
    await newer.close()
  })

  test('thousands of them are read again in rounds, and those that can be are loaded', async () => {
    const count = 1_500
    await append(log, (story) => {
      for (let at = 0; at < count; at++)
        story.raw('policy.completions_sampled', at % 2, { key: 'k', headers: [], value: null })
    })
    const { blobs, file } = await missing()
    await rename(file, join(folder, 'kept'))
    const sink = await open(blobs)
    await sink.loadOnce()
    expect(sink.health.unreadable).toEqual({ 'policy.completions_sampled': count + 1 })
    await rename(join(folder, 'kept'), file)
    await sink.loadOnce()
    expect(await ask(sink, LOADED)).toContainEqual(long)
    expect(sink.health.unreadable).toEqual({ 'policy.completions_sampled': count })
    await sink.close()
  })
})

describe('a record that an operator has every reader skip', () => {
  test('a foreign record of a changelog stops loading and is named with the command, after which loading continues', async () => {
    const topic = '_changelog.form-groups'
    await append(log, (story) =>
      story.raw(topic, 0, { key: 'k', headers: [], value: Buffer.from('{"hello":"world"}') }).sampled('g1', [0]),
    )
    const sink = await open(directoryBlobs(join(folder, 'blobs')))
    await expect(sink.loadOnce()).rejects.toThrow(/_changelog\.form-groups partition 0 offset \d+: .*plumbline skip/)
    await expect(sink.run(new AbortController().signal)).rejects.toThrow(ForeignRecordError)
    const { records } = await log.read({ topic, partition: 0, from: 0n, max_bytes: 1 })
    await skipRecord(log, records[0] as LogRecord, 'a test')
    expect((await sink.loadOnce()).caught_up).toBe(true)
    expect(await ask(sink, LOADED)).toEqual([['sampled-g1', 3]])
    await sink.close()
  })

  test('an unreadable record leaves the list of what the tables lack, and does not return in rebuilt tables', async () => {
    const topic = 'policy.completions_sampled'
    await append(log, (story) => story.raw(topic, 0, { key: 'k', headers: [], value: null }).sampled('g1', [0]))
    const blobs = directoryBlobs(join(folder, 'blobs'))
    const sink = await open(blobs)
    await sink.loadOnce()
    expect(sink.health.unreadable).toEqual({ [topic]: 1 })
    const { records } = await log.read({ topic, partition: 0, from: 0n, max_bytes: 1 })
    await skipRecord(log, records[0] as LogRecord, 'a test')
    await sink.loadOnce()
    expect(sink.health.unreadable).toEqual({})
    await sink.close()
    await rm(join(folder, 'test.duckdb'))
    const anew = await open(blobs)
    await anew.loadOnce()
    await anew.loadOnce()
    expect(anew.health.unreadable).toEqual({})
    expect(await ask(anew, LOADED)).toEqual([['sampled-g1', 3]])
    await anew.close()
  })

  test('so does a record that retention removed before it was loaded', async () => {
    const topic = 'policy.completions_sampled'
    await append(log, (story) => story.sampled('g1', [0]).sampled('g2', [0]).sampled('g3', [0]).sampled('g4', [0]))
    const partition = (await log.endOffsets(topic)).findIndex((end) => end > 0n)
    const { records } = await log.read({ topic, partition, from: 0n, max_bytes: 1 })
    await log.deleteBefore(topic, partition, (records[0] as LogRecord).offset + 1n)
    const sink = await open(directoryBlobs(join(folder, 'blobs')))
    await sink.loadOnce()
    expect(sink.health.unreadable).toEqual({ [topic]: 1 })
    await skipRecord(log, { topic, partition, offset: 0n }, 'a test')
    await sink.loadOnce()
    expect(sink.health.unreadable).toEqual({})
    await sink.close()
  })
})
