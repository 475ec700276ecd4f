import { createHash } from 'node:crypto'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Blobs } from '../../infra/blobs/blobs.ts'
import { directoryBlobs } from '../../infra/blobs/directory.ts'
import { memoryLog } from '../../infra/log/memory/memory-log.ts'
import type { LogRecord } from '../../infra/log/port/log.ts'
import { defineEvent, type EventType } from '../../schemas/declare/event.ts'
import { int32, list, utf8 } from '../../schemas/declare/logical-types.ts'
import { encodeEvent, offloadedBlobs } from '../../schemas/wire/codec.ts'
import { catalogue } from '../../streams/vocabulary.ts'
import { append, createTopics, eventOf } from '../../testing/duckdb/recorded-tower.ts'
import { temporaryFolder } from '../../testing/temporary-folder.ts'
import { openJsonlSink, unreadableIn } from './jsonl-sink.ts'
import { JsonlFolderError } from './positions-file.ts'

const SAMPLED = 'policy.completions_sampled'

let folder = ''
let dir = ''
let log = memoryLog()
let blobs: Blobs
beforeEach(async () => {
  folder = await temporaryFolder()
  dir = join(folder, 'events')
  blobs = directoryBlobs(join(folder, 'blobs'))
  log = memoryLog()
  await createTopics(log)
})

const fileOf = (name: string) => join(dir, `${name}.jsonl`)
const linesOf = (name: string) =>
  readFileSync(fileOf(name), 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line))

function replaceIn(file: string, text: string, other: string): void {
  const before = readFileSync(file, 'utf8')
  expect(before).toContain(text)
  writeFileSync(file, before.replace(text, other))
}

async function load(events: readonly EventType[] = catalogue): Promise<void> {
  const sink = await openJsonlSink({ dir, log, blobs, catalogue: events })
  try {
    await sink.loadOnce()
  } finally {
    await sink.close()
  }
}

test('a line has the place, the envelope and the rows of an event; a dead letter has its one row', async () => {
  await append(log, (story) => story.sampled('g', [0, 1]).dead('g', 'an-event'))
  await load()
  expect(linesOf(SAMPLED)).toEqual([
    {
      topic: SAMPLED,
      partition: expect.any(Number),
      offset: expect.any(Number),
      appended: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      key: 'g',
      envelope: expect.objectContaining({ id: 'sampled-g', version: 1, clock: 'virtual', causes: [] }),
      rows: [
        expect.objectContaining({ completion_index: 0, token_ids: [1, 2, 3], logprobs: [-0.5, -0.25, -1] }),
        expect.objectContaining({ completion_index: 1 }),
      ],
    },
  ])
  expect(linesOf('dead_letters')).toEqual([
    expect.objectContaining({ key: 'g', rows: [expect.objectContaining({ ce_id: 'an-event', failure: 'bug' })] }),
  ])
})

test('a large column is a reference to its blob, with type and statistics, and in no row', async () => {
  const put: Promise<unknown>[] = []
  await append(log, (story) => {
    for (const { bytes, ref } of story.sampledLong('g', 20_000)) put.push(blobs.put(bytes, ref.media_type))
  })
  await Promise.all(put)
  await load()
  const [line] = linesOf(SAMPLED)
  const { records } = await log.read({ topic: SAMPLED, partition: line.partition, from: 0n, max_bytes: 1 })
  const [ref] = offloadedBlobs(records[0] as LogRecord)
  expect(line.offloaded).toEqual({
    token_ids: expect.objectContaining({ ...ref, rows: 1, numbers: 20_000, min: 0, max: 19_999, mean: 9_999.5 }),
  })
  expect(Object.keys(line.rows[0])).not.toContain('token_ids')
  expect(line.rows[0]).toMatchObject({ completion_index: 0, logprobs: [-0.5, -0.25, -1] })
  expect(statSync(fileOf(SAMPLED)).size).toBeLessThan(5_000)
})

test('a large column of an event of an earlier version is in the rows, as its upcaster made it', async () => {
  const measured = (version: number, more: Partial<Parameters<typeof defineEvent>[0]> = {}) =>
    defineEvent({
      type: 'test.measured',
      version,
      key: 'id',
      encoding: 'arrow',
      about: '',
      retention: 'source',
      row: { id: utf8(''), values: list(int32(), '') },
      ...more,
    })
  const [v1, v2] = [
    measured(1),
    measured(2, {
      earlier: [
        {
          version: 1,
          row: measured(1).row,
          upcast: (row) => ({ ...row, values: (row.values as number[]).map((value) => value + 1) }),
        },
      ],
    }),
  ]
  const values = Array.from({ length: 20_000 }, (_, at) => at)
  const event = eventOf(v1, 'm', 'm', [{ id: 'm', values }])
  await createTopics(log, [v1])
  for (const { bytes, ref } of encodeEvent(v1, event).blobs) await blobs.put(bytes, ref.media_type)
  await append(log, (story) => story.event(v1, event))
  const sink = await openJsonlSink({ dir, log, blobs, catalogue: [v2] })
  await sink.loadOnce()
  await sink.close()
  const [line] = linesOf('test.measured')
  expect(line).toMatchObject({ envelope: { version: 2 }, rows: [{ id: 'm', values: { 0: 1, 19999: 20_000 } }] })
  expect(line).not.toHaveProperty('offloaded')
})

test('a record that is not an event has a line in unreadable.jsonl with its place and the reason', async () => {
  await append(log, (story) => story.raw(SAMPLED, 1, { key: 'g', headers: [], value: Buffer.from('x') }))
  await load()
  expect(linesOf('unreadable')).toEqual([
    { topic: SAMPLED, partition: 1, offset: 0, ce_id: null, error: expect.stringContaining('header ce_specversion') },
  ])
  expect(existsSync(fileOf(SAMPLED))).toBe(false)
})

/** An event in several versions with the same fields. */
const thing = (version: number) => {
  const row = { thing_id: utf8('which'), weight: int32('in grams') }
  const earlier = Array.from({ length: version - 1 }, (_, at) => ({ version: at + 1, row }))
  const shared = { key: 'thing_id', encoding: 'json', retention: 'derived', about: '' } as const
  return defineEvent({ ...shared, type: 'thing.weighed', version, row, earlier })
}
const weighed = (version: number, id: string) => eventOf(thing(version), id, 't1', { thing_id: 't1', weight: version })

test('a record whose schema a later release has is written then, once', async () => {
  await createTopics(log, [thing(1)])
  await append(log, (story) => story.event(thing(2), weighed(2, 'e1')).event(thing(1), weighed(1, 'e2')))
  for (const [version, ids] of [
    [1, ['e2']],
    [2, ['e2', 'e1']],
    [2, ['e2', 'e1']],
  ] as const) {
    await load([thing(version)])
    expect(linesOf('thing.weighed').map(({ envelope }) => envelope.id)).toEqual(ids)
  }
  const place = { topic: 'thing.weighed', partition: expect.any(Number), offset: 0 }
  expect(linesOf('unreadable')).toEqual([
    { ...place, ce_id: 'e1', error: expect.any(String) },
    { ...place, ce_id: null, error: null },
  ])
  expect(await unreadableIn(dir)).toEqual([])
})

test('a new reason is another line, and the last line of a place counts', async () => {
  await createTopics(log, [thing(1)])
  await append(log, (story) => story.event(thing(3), weighed(3, 'e1')))
  for (const version of [1, 1, 2]) await load([thing(version)])
  const errors = linesOf('unreadable').map(({ error }) => error)
  expect(new Set(errors).size).toBe(2)
  expect(errors).toHaveLength(2)
  expect((await unreadableIn(dir)).map(({ error }) => error)).toEqual([errors[1]])
})

test('what a killed process left behind is cut off: half a line, a file that it had just made', async () => {
  await append(log, (story) => story.sampled('g', [0]))
  await load()
  const whole = readFileSync(fileOf(SAMPLED), 'utf8')
  appendFileSync(fileOf(SAMPLED), '{"topic":"policy.comp')
  writeFileSync(fileOf('rollout.requested'), '{"topic"')
  writeFileSync(join(dir, 'positions.json.new'), '{')
  writeFileSync(join(dir, 'notes.txt'), 'not of the sink')
  await load()
  expect(readFileSync(fileOf(SAMPLED), 'utf8')).toBe(whole)
  expect(existsSync(fileOf('rollout.requested'))).toBe(false)
  expect(existsSync(join(dir, 'notes.txt'))).toBe(true)
})

describe('a folder that is not as the sink left it is refused, with what to do', () => {
  const refused = async () => {
    const failure: unknown = await load().then(
      () => undefined,
      (error: unknown) => error,
    )
    expect(failure).toBeInstanceOf(JsonlFolderError)
    const { message, remedy } = failure as JsonlFolderError
    return `${message}\n${remedy}`
  }
  beforeEach(async () => {
    await append(log, (story) => story.sampled('g', [0]))
  })

  test.each([
    ['cut off', () => truncateSync(join(dir, 'positions.json'), 50)],
    ['empty', () => writeFileSync(join(dir, 'positions.json'), '')],
    ['changed in one digit', () => replaceIn(join(dir, 'positions.json'), '\\"next\\":\\"2', '\\"next\\":\\"3')],
    ['of another program', () => writeFileSync(join(dir, 'positions.json'), '{"a":1}')],
  ])('positions that are %s', async (_, damage) => {
    await load()
    damage()
    expect(await refused()).toMatch(/positions\.json: expected the positions .*damaged content\nremove .*--jsonl/)
  })

  test.each([
    ['shorter', () => truncateSync(fileOf(SAMPLED), 10), 'found 10'],
    ['gone', () => rmSync(fileOf(SAMPLED)), 'found no such file'],
  ])('a file that is %s', async (_, damage, found) => {
    await load()
    damage()
    expect(await refused()).toMatch(new RegExp(`sampled\\.jsonl: expected the \\d+ bytes that were written, ${found}`))
  })

  test('a list of unreadable records that has other lines', async () => {
    await append(log, (story) => story.raw(SAMPLED, 1, { key: 'g', headers: [], value: Buffer.from('x') }))
    await load()
    replaceIn(fileOf('unreadable'), '"topic"', '"tupic"')
    expect(await refused()).toMatch(/unreadable\.jsonl: expected lines of .*, found other .*content\nremove .*--jsonl/)
  })

  test('a file that is cut while the sink runs', async () => {
    const sink = await openJsonlSink({ dir, log, blobs, catalogue })
    await sink.loadOnce()
    truncateSync(fileOf(SAMPLED), 10)
    const before = readFileSync(join(dir, 'positions.json'), 'utf8')
    await append(log, (story) => story.sampled('h', [0]))
    await expect(sink.run(new AbortController().signal)).rejects.toThrow(JsonlFolderError)
    await sink.close()
    expect(readFileSync(join(dir, 'positions.json'), 'utf8')).toBe(before)
  })

  test('a folder with another program’s files, in which nothing is written', async () => {
    mkdirSync(dir)
    writeFileSync(join(dir, 'thesis.tex'), '')
    expect(await refused()).toMatch(
      /expected an empty folder, or one of a JSON Lines sink .*found thesis\.tex\nname an/,
    )
    expect(existsSync(join(dir, '.lock'))).toBe(false)
  })

  test('positions of a newer release', async () => {
    const stored = JSON.stringify({ format: 2, positions: [], files: {}, unreadable: {} })
    mkdirSync(dir)
    const sha256 = createHash('sha256').update(stored).digest('hex')
    writeFileSync(join(dir, 'positions.json'), JSON.stringify({ sha256, stored }))
    expect(await refused()).toMatch(/expected format 1 or older, got 2: a newer Plumbline wrote it\nuse that version/)
  })
})
