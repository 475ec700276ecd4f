import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { directoryBlobs } from '../../infra/blobs/directory.ts'
import type { LogRecord, NewRecord } from '../../infra/log/port/log.ts'
import {
  changelogTopic,
  DEAD_LETTERS_TOPIC,
  journalTopic,
  SNAPSHOTS_TOPIC,
} from '../../infra/runtime/internal/internal-topics.ts'
import { toJson } from '../../infra/runtime/internal/json-records.ts'
import type { Event, EventType } from '../../schemas/declare/event.ts'
import type { ImageRef } from '../../schemas/declare/logical-types.ts'
import { completionsSampled } from '../../schemas/events/policy.ts'
import { groupFormed, rolloutRequested } from '../../schemas/events/rollout.ts'
import { completionsScored, scenePresented } from '../../schemas/events/tower.ts'
import { decodeEvent, encodeEvent } from '../../schemas/wire/codec.ts'
import { processorsOf } from '../../streams/describe.ts'
import { vocabulary } from '../../streams/vocabulary.ts'
import { temporaryFolder } from '../../testing/temporary-folder.ts'
import { idOf } from '../cli/whole-log.ts'
import { flipBit, RecordedFolder } from './recorded-folder.ts'

let recorded: RecordedFolder
let formed: LogRecord[]
let requested: LogRecord[]
beforeAll(async () => {
  recorded = await RecordedFolder.make()
  formed = await recorded.recordsOf(groupFormed.type)
  requested = await recorded.recordsOf(rolloutRequested.type)
}, 60_000)
afterAll(() => recorded.remove())

const eventIn = <T extends EventType>(record: LogRecord) => decodeEvent(record, vocabulary) as Event<T>
const unchanged = (record: LogRecord): NewRecord => record
const withHeader = (record: LogRecord, name: string, value: string) => ({
  ...record,
  headers: record.headers.map((header) => (header.name === name ? { name, value } : header)),
})

/** Changes only the first record of a topic. */
function only(topic: string, change: (record: LogRecord) => NewRecord | undefined) {
  let is_done = false
  return (record: LogRecord) => {
    if (is_done || record.topic !== topic) return record
    is_done = true
    return change(record)
  }
}

test('passes on a recorded log, and reports what it read and what it left out', async () => {
  const report = await recorded.verify()
  expect(report).toMatchObject({
    passed: true,
    records: { outside: {}, dead: 0, unread: 0, refused_today: 0, differences: 0 },
    blobs: { were_read: false, read: 0, differences: 0 },
    chunks: { unchecksummed: 0, damaged: 0 },
  })
  expect(report.records.records).toBeGreaterThan(50)
  expect(report.chunks?.checksummed).toBe(report.records.records)
  const processors = processorsOf(recorded.wiring)
  expect(report.reports.map(({ processor }) => processor)).toEqual(processors.map(({ name }) => name))
  const states = new Map(report.reports.map((stage) => [stage.processor, 'states' in stage ? stage.states : undefined]))
  for (const { name, shape } of processors) {
    const keys: unknown = shape === 'transform' ? 0 : expect.any(Number)
    expect([name, states.get(name)]).toEqual([name, { keys, older: 0 }])
  }
  expect(report.not_covered).toEqual([
    expect.stringMatching(/^\d+ blobs that are named: verify --blobs reads them$/),
    'the DuckDB tables: verify --tables compares them with the log',
  ])
  expect(await recorded.verifyCopy(unchanged)).toMatchObject({ passed: true })
})

describe('of a derived event, verify compares every field:', () => {
  const changedImage = (change: (image: ImageRef) => ImageRef) =>
    only(groupFormed.type, (record) => {
      const event = eventIn<typeof groupFormed>(record)
      const data = event.data.map((row) => ({ ...row, images: row.images.map(change) }))
      return encodeEvent(groupFormed, { ...event, data } as unknown as Event)
    })
  const other = (sha256: string) => sha256.replace(/^./, (digit) => (digit === '0' ? '1' : '0'))

  test('the hash of an image that a formed group names', async () => {
    const change = changedImage((image) => ({ ...image, sha256: other(image.sha256) }))
    const report = await recorded.verifyCopy(change)
    expect(report.passed).toBe(false)
    expect(report.reports.find(({ processor }) => processor === 'form-groups')).toMatchObject({
      differences: 1,
      first: { kind: 'different', message: expect.stringContaining('images[0].sha256') },
    })
    const read = await recorded.verifyCopy(
      changedImage((image) => ({ ...image, sha256: other(image.sha256) })),
      [],
      {
        blobs: true,
      },
    )
    expect(read.reports.find(({ processor }) => processor === 'form-groups')).toMatchObject({
      differences: 1,
      first: { kind: 'different', message: expect.stringMatching(/images\[0\]\.sha256: .*; blob .* is not in/) },
    })
  })

  test('another encoding of the same pixels is equal where both pictures exist and are read', async () => {
    const { default: sharp } = await import('sharp')
    const again = new Map<string, ImageRef>()
    for (const record of formed) {
      for (const image of eventIn<typeof groupFormed>(record).data[0]?.images ?? []) {
        const bytes = await sharp(await recorded.folder.blobs.get(image))
          .png({ compressionLevel: 1 })
          .toBuffer()
        again.set(image.sha256, { ...image, ...(await recorded.folder.blobs.put(bytes, 'image/png')) })
      }
    }
    const change = () => changedImage((image) => again.get(image.sha256) as ImageRef)
    expect(await recorded.verifyCopy(change(), [], { blobs: true })).toMatchObject({ passed: true })
    expect(await recorded.verifyCopy(change())).toMatchObject({ passed: false })
  })
})

describe('an event is of a producer that may emit it; a difference is', () => {
  const append = (record: LogRecord, source: string) => ({
    ...withHeader(withHeader(record, 'ce_source', source), 'ce_id', 'f'.repeat(32)),
  })

  test('a formed group of an unknown processor or one that does not emit it, of a program outside, an effect, a source, or a retry of no dead letter', async () => {
    const sources = [
      '/processors/nobody',
      '/processors/score-completions',
      '/python/recorder',
      '/effects/form-groups',
      '/sources/tower',
      '/operators/dlq-retry',
    ]
    const report = await recorded.verifyCopy(
      unchanged,
      sources.map((source) => append(formed[0] as LogRecord, source)),
    )
    expect(report).toMatchObject({ passed: false, records: { differences: sources.length } })
    for (const found of report.records.found) {
      expect(found).toMatchObject({ kind: 'producer', ce_id: 'f'.repeat(32) })
      expect(found.where).toMatch(/^rollout\.group_formed partition \d offset \d+$/)
    }
  })

  test('a fact that claims a processor, or another source’s type; one from outside is counted under its ce_source', async () => {
    const request = requested[0] as LogRecord
    const outside = await recorded.verifyCopy(unchanged, [append(request, '/python/recorder')])
    expect(outside).toMatchObject({ passed: true, records: { outside: { '/python/recorder': 1 }, differences: 0 } })
    const claiming = ['/processors/nobody', '/effects/nobody', '/sources/clock']
    const report = await recorded.verifyCopy(
      unchanged,
      claiming.map((source) => append(request, source)),
    )
    const producer = { kind: 'producer' }
    expect(report).toMatchObject({ passed: false, records: { differences: 3, found: [producer, producer, producer] } })
  })
})

describe('every record can be read:', () => {
  test('one that was damaged is a difference, also where no processor reads it', async () => {
    const cut = (record: LogRecord) => ({ ...record, value: (record.value ?? new Uint8Array()).slice(0, 20) })
    const report = await recorded.verifyCopy(only(scenePresented.type, cut))
    expect(report).toMatchObject({ passed: false, records: { differences: 1, found: [{ kind: 'unreadable' }] } })
    const read = await recorded.verifyCopy(only(completionsSampled.type, cut))
    expect(read.passed).toBe(false)
    const unequal = read.reports.filter(({ differences }) => differences > 0).map(({ processor }) => processor)
    // The processor that emitted it, and those that read it.
    expect(unequal).toEqual(expect.arrayContaining(['sample-completions', 'score-completions', 'form-groups']))
  })

  test('a record that no processor has read yet is no difference, nor is a dead letter', async () => {
    const garbage = { topic: rolloutRequested.type, partition: 0, key: 'garbage', headers: [], value: Buffer.from('{') }
    expect(await recorded.verifyCopy(unchanged, [garbage])).toMatchObject({
      passed: true,
      records: { unread: 1, dead: 0, differences: 0 },
    })
    const value_base64 = garbage.value.toString('base64')
    const letter = { processor: 'form-groups', failure: 'poison', error: '', ...garbage, offset: '0', value: undefined }
    const dead = { ...letter, ce_id: null, ce_type: null, rows: null, value_base64, value_blob: null }
    const more = [{ topic: DEAD_LETTERS_TOPIC, partition: 0, key: null, headers: [], value: toJson(dead) }, garbage]
    expect(await recorded.verifyCopy(unchanged, more)).toMatchObject({ passed: true, records: { dead: 1, unread: 0 } })
  })

  test('an unregistered version, an unregistered topic and a foreign record of an internal topic are named', async () => {
    const scene = (await recorded.recordsOf(scenePresented.type))[0] as LogRecord
    const schema = scene.headers.find(({ name }) => name === 'ce_dataschema')?.value ?? ''
    const version = schema.replace(`/${scenePresented.version}/`, '/99/')
    expect(version).not.toBe(schema)
    const foreign = { key: null, headers: [], value: Buffer.from('not JSON') }
    const report = await recorded.verifyCopy(unchanged, [
      withHeader(scene, 'ce_dataschema', version),
      { ...foreign, topic: 'weather.measured', partition: 0 },
      { ...foreign, topic: journalTopic('form-groups'), partition: 0 },
      { ...foreign, topic: DEAD_LETTERS_TOPIC, partition: 0 },
    ])
    expect(report.passed).toBe(false)
    expect(report.records.found.map(({ kind, where }) => `${kind} ${where.split(' ')[0]}`).sort()).toEqual([
      'unreadable _journal.form-groups',
      'unreadable dead_letters',
      'unreadable tower.scene_presented',
      'unregistered weather.measured',
    ])
  })

  test('a damaged chunk is named with its offsets, and the records after it are verified', async () => {
    for (const topic of [scenePresented.type, rolloutRequested.type, groupFormed.type, journalTopic('form-groups')]) {
      const report = await recorded.verifyDamaged((tables) => flipBit(tables, topic, 0, 0))
      const where = expect.stringMatching(new RegExp(`^${topic} partition 0 offsets? 0`))
      expect(report).toMatchObject({ passed: false, records: { found: [{ kind: 'damaged', where }] } })
      expect(report.chunks).toMatchObject({ damaged: 1 })
      expect(report.reports).toHaveLength(recorded.wiring.stages.length)
    }
  })
})

describe('states:', () => {
  const changelog = changelogTopic('form-groups')
  const differences = {
    passed: false,
    reports: expect.arrayContaining([expect.objectContaining({ first: expect.objectContaining({ kind: 'state' }) })]),
  }

  test('a changed, a missing and a forged record of a changelog differ from the states that the inputs give', async () => {
    const records = await recorded.recordsOf(changelog)
    const last = new Map(records.map((record) => [`${record.partition} ${record.key}`, record.offset]))
    const isLast = ({ topic, partition, key, offset, value }: LogRecord) =>
      topic === changelog && value !== null && last.get(`${partition} ${key}`) === offset && !key?.startsWith('\u0000')
    const change = (alter: (record: LogRecord) => NewRecord | undefined) => {
      let done = false
      return (record: LogRecord) => {
        if (done || !isLast(record)) return record
        done = true
        return alter(record)
      }
    }
    const altered = (record: LogRecord) => {
      const entry = JSON.parse(Buffer.from(record.value ?? []).toString()) as { state: Record<string, unknown> }
      return { ...record, value: toJson({ ...entry, state: { ...entry.state, forged: 1 } }) }
    }
    expect(await recorded.verifyCopy(change(altered))).toMatchObject(differences)
    expect(await recorded.verifyCopy(change((record) => ({ ...record, value: null })))).toMatchObject(differences)
    const forged = { ...(records[0] as LogRecord), key: 'forged' }
    expect(await recorded.verifyCopy(unchanged, [forged])).toMatchObject(differences)
    expect(await recorded.verifyDamaged((tables) => flipBit(tables, changelog, 0, 0))).toMatchObject({ passed: false })
  })

  test('a snapshot that is gone or was changed is a difference', async () => {
    expect((await recorded.recordsOf(SNAPSHOTS_TOPIC)).length).toBeGreaterThan(0)
    const { blobs } = recorded.folder
    const empty = { ...blobs, get: async () => Buffer.from('["forged",{"state":1}]\n') }
    expect(await recorded.verify({}, { blobs: empty })).toMatchObject(differences)
  })
})

describe('blobs:', () => {
  test('with --blobs each is read: a changed one, a missing one and an empty store are differences', async () => {
    const sound = await recorded.verify({ blobs: true })
    expect(sound).toMatchObject({ passed: true, blobs: { were_read: true, differences: 0 } })
    expect(sound.blobs.read).toBe(sound.blobs.named)

    const root = await temporaryFolder()
    const copy = directoryBlobs(join(root, 'blobs'))
    const refs = new Map<string, ImageRef>()
    for (const record of await recorded.recordsOf(scenePresented.type)) {
      const { image } = eventIn<typeof scenePresented>(record).data
      refs.set(image.sha256, image)
      await copy.put(await recorded.folder.blobs.get(image), image.media_type)
    }
    const [first, second] = [...refs.keys()] as [string, string]
    const fileOf = (sha256: string) => join(root, 'blobs', sha256.slice(0, 2), sha256.slice(2))
    await writeFile(fileOf(first), 'changed')
    await rm(fileOf(second))
    const snapshots = { get: recorded.folder.blobs.get }
    const images = { ...copy, get: async (ref: ImageRef) => await (refs.has(ref.sha256) ? copy : snapshots).get(ref) }
    const damaged = await recorded.verify({ blobs: true }, { blobs: images as typeof copy })
    expect(damaged).toMatchObject({ passed: false, blobs: { differences: 2 } })
    const messages = damaged.blobs.found.map(({ message }) => message)
    for (const sha256 of [first, second]) expect(messages).toContainEqual(expect.stringContaining(sha256.slice(2)))

    await rm(join(root, 'blobs'), { recursive: true })
    expect(await recorded.verify({ blobs: true }, { blobs: copy })).toMatchObject({ passed: false })
  })
})

test('a group scored twice in the log is a difference', async () => {
  const [scored] = await recorded.recordsOf(completionsScored.type)
  const report = await recorded.verifyCopy(unchanged, [scored as LogRecord])
  expect(report.reports.find(({ processor }) => processor === 'score-completions')).toMatchObject({
    differences: 1,
    first: { kind: 'unexpected', ce_id: idOf(scored as LogRecord) },
  })
})
