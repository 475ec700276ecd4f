import { expect, test } from 'vitest'
import { generate } from '../cli/generate.ts'
import { verifyFolder } from '../cli/verify.ts'
import type { LogRecord, NewRecord } from '../infra/log/port/log.ts'
import { DEAD_LETTERS_TOPIC, type DeadLetter } from '../infra/runtime/internal/internal-topics.ts'
import { readJson } from '../infra/runtime/internal/json-records.ts'
import { type DataFolder, openDataFolder } from '../pipeline/data-folder.ts'
import { prepareLog } from '../pipeline/wiring.ts'
import { defineEvent, type Event } from '../schemas/declare/event.ts'
import { completionsSampled } from '../schemas/events/policy.ts'
import { groupFormed, rolloutRequested } from '../schemas/events/rollout.ts'
import { completionsScored } from '../schemas/events/tower.ts'
import { decodeEvent, encodeEvent } from '../schemas/wire/codec.ts'
import { partitionOf } from '../schemas/wire/routing.ts'
import { DEFAULTS, topology } from '../streams/topology.ts'
import { vocabulary } from '../streams/vocabulary.ts'
import { readersOf } from '../testing/readers-of.ts'
import { runUntilIdle } from '../testing/run-until-idle.ts'
import { temporaryFolder } from '../testing/temporary-folder.ts'
import { recordsOf } from './cli/whole-log.ts'

/** How a whole pipeline treats numbers and rows in its log that no release of this program writes. */

const POLICY = 'noisy-oracle(100)'

async function folderWithRequests(): Promise<DataFolder> {
  const folder = await openDataFolder({ data: await temporaryFolder() }, { create: true })
  await prepareLog(folder, await topology({ ...DEFAULTS, policy: POLICY }))
  const scenes = { dataset: 'side_block', task: 'x_y', split: 'train', variant: 'plain', purpose: 'train' } as const
  const signal = new AbortController().signal
  await generate(folder, { ...scenes, round: 0, scenes: 2, seed: '1', group_size: 2 }, true, signal)
  return folder
}

async function append({ log }: DataFolder, topic: string, partition: number, record: NewRecord): Promise<void> {
  const producer = await log.producer({ transactional_id: 'test' })
  const transaction = producer.begin()
  transaction.append(topic, partition, record)
  await transaction.commit()
  await producer.close()
}

/** Appends a copy of this request for a group of its own, as any producer could. */
async function appendRequest(folder: DataFolder, like: LogRecord, group_size: number, by: Release): Promise<void> {
  const key = 'huge'
  const value = { ...JSON.parse(Buffer.from(like.value as Uint8Array).toString()), group_id: key, group_size }
  const other: Record<string, string> = { ce_id: 'f'.repeat(32), ce_subject: key, ce_partitionkey: key }
  const headers = headersBy(by, like).map((header) => ({ ...header, value: other[header.name] ?? header.value }))
  const record = { key, headers, value: Buffer.from(JSON.stringify(value)) }
  await append(folder, like.topic, partitionOf(key, DEFAULTS.partitions as number), record)
}

type Release = 'this release' | 'an earlier release'

/** Earlier releases did not write ce_schemarules: their events promise nothing. */
function headersBy(by: Release, { headers }: Pick<NewRecord, 'headers'>): NewRecord['headers'] {
  return by === 'this release' ? headers : headers.filter(({ name }) => name !== 'ce_schemarules')
}

async function deadLetters({ log }: DataFolder): Promise<DeadLetter[]> {
  return (await recordsOf(log, DEAD_LETTERS_TOPIC)).map((record) => readJson<DeadLetter>(record))
}

test.each([
  ['this release', []],
  // Scoring allocates nothing for a group's size, so it accepts the request, as that release did.
  ['an earlier release', ['score-completions']],
] as const)(
  'a request for 100,000,000 completions by %s is a dead letter, and the run continues',
  async (by, accepted_by: readonly string[]) => {
    const folder = await folderWithRequests()
    const wiring = await topology({ ...DEFAULTS, policy: POLICY })
    const [first] = (await recordsOf(folder.log, rolloutRequested.type)) as [LogRecord]
    await appendRequest(folder, first, 100_000_000, by)
    await runUntilIdle(folder, wiring)

    const letters = await deadLetters(folder)
    const names = letters.map(({ processor }) => processor)
    expect(names).toEqual(expect.arrayContaining(['form-groups', 'sample-completions']))
    const readers = await readersOf(rolloutRequested)
    expect(readers.filter((name) => !names.includes(name))).toEqual(accepted_by)
    for (const { failure, error } of letters) {
      expect(failure).toBe('poison')
      expect(error).toMatch(/group_size:? .*100000000/)
    }
    expect(await recordsOf(folder.log, groupFormed.type)).toHaveLength(2)
    expect(await verifyFolder(folder, wiring, { json: true })).toBe(true)
    await folder.close()
  },
)

test('an event with one completion twice is a dead letter when it claims to obey the rules', async () => {
  const folder = await folderWithRequests()
  const wiring = await topology({ ...DEFAULTS, policy: POLICY })
  await appendTwice(folder, 'this release')
  await runUntilIdle(folder, wiring)
  const letters = await deadLetters(folder)
  expect(letters.map(({ processor }) => processor).sort()).toEqual(await readersOf(completionsSampled))
  expect(letters[0]?.error).toContain('row 1 completion_index 0: expected each completion_index once in an event')
  expect(await verifyFolder(folder, wiring, { json: true })).toBe(true)
  await folder.close()
})

test('one of an earlier release is accepted as it was: its first row counts, and verify passes', async () => {
  const folder = await folderWithRequests()
  const wiring = await topology({ ...DEFAULTS, policy: POLICY })
  const group = await appendTwice(folder, 'an earlier release')
  await runUntilIdle(folder, wiring)
  expect(await deadLetters(folder)).toEqual([])
  const formed = (await recordsOf(folder.log, groupFormed.type)).map((record) => decodeEvent(record, vocabulary))
  const rows = (formed as unknown as Event<typeof groupFormed>[]).find(({ key }) => key === group)?.data
  expect(rows?.map(({ completion_index, text }) => [completion_index, text])).toEqual([
    [0, 'first'],
    [1, 'other'],
  ])
  const scored = (await recordsOf(folder.log, completionsScored.type)).find(({ key }) => key === group) as LogRecord
  expect(scored.headers.map(({ name }) => name)).not.toContain('ce_schemarules')
  expect(await verifyFolder(folder, wiring, { json: true })).toBe(true)
  await folder.close()
})

/** Answers a request with rows 0, 0 and 1 in one event, before the policy does. @returns its group */
async function appendTwice(folder: DataFolder, by: Release): Promise<string> {
  const other = await topology({ ...DEFAULTS, policy: POLICY })
  const copy = await folderWithRequests()
  await runUntilIdle(copy, other)
  const [answered] = (await recordsOf(copy.log, completionsSampled.type)) as [LogRecord]
  await copy.close()
  const event = decodeEvent(answered, vocabulary) as Event<typeof completionsSampled>
  const [zero, one] = event.data as [(typeof event.data)[0], (typeof event.data)[0]]
  const data = [
    { ...zero, text: 'first' },
    { ...zero, text: 'second' },
    { ...one, text: 'other' },
  ]
  // Declared without the row key, as in the earlier release, or in a producer that does not check.
  const careless = defineEvent({ ...completionsSampled, key: 'group_id', row_key: [] })
  const record = encodeEvent(careless, {
    ...event,
    id: 'e'.repeat(32),
    source: '/sources/recorded-completions/test',
    data,
  } as unknown as Event)
  await append(folder, answered.topic, answered.partition, { ...record, headers: headersBy(by, record) })
  return event.key
}
