import { beforeEach, describe, expect, test } from 'vitest'
import { partitionOf } from '../../../schemas/wire/routing.ts'
import {
  add,
  added,
  append,
  appendRaw,
  counted,
  counting,
  double,
  PARTITIONS,
  recordsOf,
  runUntilRead,
  sumsOf,
  TOPICS,
  vocabulary,
} from '../../../testing/counting.ts'
import { memoryBlobs } from '../../blobs/memory.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'
import { type Log, OffsetGoneError } from '../../log/port/log.ts'
import { verifyStage } from '../../verify/verify-stage.ts'
import { ProcessorBrokenError } from '../execute/processor-broken-error.ts'
import { StateVersionError } from '../execute/stored-state.ts'
import { changelogTopic, DEAD_LETTERS_TOPIC, type DeadLetter, SNAPSHOTS_TOPIC } from '../internal/internal-topics.ts'
import { CauseExpiredError } from '../internal/journal-reader.ts'
import { readJson } from '../internal/json-records.ts'

import type { WhenGone } from './worker-options.ts'

let log: Log

beforeEach(async () => {
  log = memoryLog()
  await log.createTopics(TOPICS)
})

const homeOf = (key: string) => partitionOf(key, PARTITIONS)

async function deadLetters(): Promise<DeadLetter[]> {
  return (await recordsOf(log, DEAD_LETTERS_TOPIC)).map((record) => readJson<DeadLetter>(record))
}

describe('state', () => {
  test('after a restart is that of the last commit', async () => {
    await append(log, add('ann', 1), add('bob', 10), add('ann', 2))
    await runUntilRead({ log })
    await append(log, add('ann', 4), add('bob', 20))
    await runUntilRead({ log })
    expect(await sumsOf(log, 'ann')).toEqual([1, 3, 7])
    expect(await sumsOf(log, 'bob')).toEqual([10, 30])
  })

  test('is restored from a snapshot and the changelog after it', async () => {
    const blobs = memoryBlobs()
    for (let round = 0; round < 4; round++) {
      await append(log, add('ann', 1), add('bob', 1))
      await runUntilRead({ log, blobs, tuning: { snapshot_every: 3 } })
    }
    const snapshots = (await recordsOf(log, SNAPSHOTS_TOPIC)).length
    await append(log, add('ann', 1))
    const events = await runUntilRead({ log, blobs })
    const restored = events.flatMap((event) => (event.kind === 'restored' ? [event.changelog_records] : []))
    expect(snapshots).toBeGreaterThan(0)
    const changes = (await recordsOf(log, changelogTopic('count'))).length
    expect(restored.reduce((a, b) => a + b, 0)).toBeLessThan(changes)
    expect(await sumsOf(log, 'ann')).toEqual([1, 2, 3, 4, 5])
  })

  test('of an older version is upcast', async () => {
    await append(log, add('ann', 5))
    await runUntilRead({ log })
    await append(log, add('ann', 1))
    const { state } = counting()
    await runUntilRead({
      log,
      processor: counting({
        state: { ...state, version: 2, upcast: { 1: (old) => ({ sum: (old as { sum: number }).sum + 100 }) } },
      }),
    })
    expect(await sumsOf(log, 'ann')).toEqual([5, 106])
  })

  test('of a newer version is refused and nothing is processed', async () => {
    await append(log, add('ann', 5))
    const { state } = counting()
    await runUntilRead({ log, processor: counting({ state: { ...state, version: 2 } }) })
    await append(log, add('ann', 1))
    const run = runUntilRead({ log })
    await expect(run).rejects.toThrow(StateVersionError)
    await expect(run).rejects.toThrow(/written by a newer Plumbline/)
    expect(await sumsOf(log, 'ann')).toEqual([5])
  })

  test('of an older version without an upcaster is recomputed from the log', async () => {
    const blobs = memoryBlobs()
    await append(log, add('ann', 5), double('ann'), add('ann', 1))
    await runUntilRead({ log, blobs })
    const before = (await sumsOf(log, 'ann')).at(-1) ?? 0
    await append(log, add('ann', 1))
    const { state } = counting()
    const version2 = counting({ state: { ...state, version: 2 } })
    const events = await runUntilRead({ log, blobs, processor: version2 })
    expect(events).toContainEqual(expect.objectContaining({ kind: 'restored', rebuilt: true }))
    expect((await sumsOf(log, 'ann')).at(-1)).toBe(before + 1)
    await append(log, add('ann', 1))
    const again = await runUntilRead({ log, blobs, processor: version2 })
    expect(again).not.toContainEqual(
      expect.objectContaining({ kind: 'restored', rebuilt: true, partition: homeOf('ann') }),
    )
    expect((await sumsOf(log, 'ann')).at(-1)).toBe(before + 2)
  })
})

describe('a record that cannot be processed becomes a dead letter, and the next ones are processed', () => {
  test('when it is not an event', async () => {
    await appendRaw(log, added.type, 0, { key: 'x', headers: [], value: Buffer.from('rubbish') })
    await append(log, add('ann', 1))
    await runUntilRead({ log })
    const [letter] = await deadLetters()
    expect(letter).toMatchObject({ failure: 'poison', topic: added.type, partition: 0, offset: '0', ce_id: null })
    expect(Buffer.from(letter?.value_base64 ?? '', 'base64').toString()).toBe('rubbish')
    expect(await sumsOf(log, 'ann')).toEqual([1])
  })

  test('when it is in a partition that its key does not belong to', async () => {
    await append(log, add('ann', 1))
    const [record] = await recordsOf(log, added.type)
    if (record === undefined) throw new Error('the record is gone')
    await appendRaw(log, added.type, 1 - record.partition, record)
    await runUntilRead({ log })
    expect((await deadLetters())[0]?.error).toMatch(/key ann belongs to partition \d of 2 \(murmur2\), found in \d/)
    expect(await sumsOf(log, 'ann')).toEqual([1])
  })

  test.each([
    ['when it breaks an invariant', -1, 'poison', 'amount -1: expected 0 or more'],
    ['when the processor fails on it', -2, 'bug', 'a bug of the processor'],
  ] as const)('%s', async (_name, amount, failure, error) => {
    await append(log, add('ann', 1), add('ann', amount), add('ann', 2))
    await runUntilRead({ log })
    expect(await deadLetters()).toMatchObject([{ failure, error, rows: 1 }])
    expect(await sumsOf(log, 'ann')).toEqual([1, 3])
  })
})

test('an event whose wall time is far ahead of the host is a dead letter, also in a rebuild', async () => {
  const future = { ...add('ann', 5), clock: 'wall' as const, time: '2300-01-01T00:00:00.000Z' }
  await append(log, add('ann', 1), future, add('ann', 2))
  await runUntilRead({ log })
  expect((await deadLetters())[0]?.error).toMatch(/2300-01-01T00:00:00\.000Z is \d+ h ahead of this host's clock/)
  expect(await sumsOf(log, 'ann')).toEqual([1, 3])
  const stage = { name: 'count', variant: [], create: () => counting() }
  const options = { log, blobs: memoryBlobs(), vocabulary, partitions: PARTITIONS }
  expect(await verifyStage(stage, options)).toMatchObject({ differences: 0, equal: 2 })
})

test('a processor that fails on too many records stops, with what it had read uncommitted', async () => {
  await append(log, add('ann', 1))
  await runUntilRead({ log })
  await append(log, ...Array.from({ length: 30 }, () => add('ann', -2)))
  await expect(runUntilRead({ log })).rejects.toThrow(ProcessorBrokenError)
  expect(await deadLetters()).toEqual([])
  await runUntilRead({
    log,
    processor: counting({
      apply: (state, event, emit) =>
        counting().apply(state, { ...event, data: { who: 'ann', amount: 1 } } as never, emit, undefined),
    }),
  })
  expect((await sumsOf(log, 'ann')).at(-1)).toBe(31)
})

test('a transient fault is retried, nothing is lost and nothing is a dead letter', async () => {
  await append(log, add('ann', 1), double('ann'))
  let failures = 3
  const flaky = new Proxy(log, {
    get(target, name) {
      if (name === 'producer' && failures-- > 0) return () => Promise.reject(new Error('no space left on device'))
      const value: unknown = Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  const events = await runUntilRead({ log: flaky })
  expect(events.filter((event) => event.kind === 'retrying')).toHaveLength(3)
  expect(await sumsOf(log, 'ann')).toHaveLength(2)
  expect(await deadLetters()).toEqual([])
})

test('two workers share the partitions, and one continues those that the other leaves', async () => {
  await append(log, ...Array.from({ length: 50 }, (_, index) => add(`key-${index}`, index)))
  await Promise.all([runUntilRead({ log }), runUntilRead({ log })])
  await append(log, ...Array.from({ length: 50 }, (_, index) => double(`key-${index}`)))
  await Promise.all([runUntilRead({ log }), runUntilRead({ log })])
  for (let index = 0; index < 50; index++) expect(await sumsOf(log, `key-${index}`)).toEqual([index, 2 * index])
})

describe('when retention has removed records that were not read yet', () => {
  /** Five events of one key: one is read, the next two are removed unread. @returns the skips that a run reports */
  async function runOn(when_gone: WhenGone) {
    await append(log, add('ann', 1))
    await runUntilRead({ log })
    await append(log, ...Array.from({ length: 4 }, () => add('ann', 1)))
    const partition = homeOf('ann')
    const read = (await log.committed('count')).find((at) => at.topic === added.type && at.partition === partition)
    const fourth = (await recordsOf(log, added.type)).filter((record) => record.partition === partition)[3]
    await log.deleteBefore(added.type, partition, fourth?.offset ?? 0n)
    const skips = (await runUntilRead({ log, tuning: { when_gone } })).filter(({ kind }) => kind === 'skipped')
    const skip = (to: bigint | undefined) => [{ kind: 'skipped', topic: added.type, partition, from: read?.next, to }]
    return { skips, skip, fourth: fourth?.offset, end: (await log.endOffsets(added.type))[partition] }
  }

  test('a worker stops and reports where the first remaining record is', async () => {
    await expect(runOn('stop')).rejects.toThrow(OffsetGoneError)
    expect(await sumsOf(log, 'ann')).toEqual([1])
  })

  test('or continues at the earliest, reports what it skipped, and verify reports what it cannot compare', async () => {
    const { skips, skip, fourth } = await runOn('earliest')
    expect(skips).toEqual(skip(fourth))
    expect(await sumsOf(log, 'ann')).toEqual([1, 2, 3])
    const stage = { name: 'count', variant: [], create: () => counting() }
    const report = await verifyStage(stage, { log, blobs: memoryBlobs(), vocabulary, partitions: PARTITIONS })
    expect(report).toMatchObject({ rebuilt: 0, recorded: 3, differences: 0 })
    expect(report.unverifiable).toEqual([
      expect.stringContaining(
        `cause expired: retention removed test.added partition ${homeOf('ann')} below offset ${fourth}`,
      ),
    ])
    // Nor can a state be recomputed after its causes are gone.
    const { state } = counting()
    const run = runUntilRead({ log, processor: counting({ state: { ...state, version: 2 } }) })
    await expect(run).rejects.toThrow(CauseExpiredError)
  })

  test('or continues after the latest, and processes what arrives from then on', async () => {
    const { skips, skip, end } = await runOn('latest')
    expect(skips).toEqual(skip(end))
    expect(await sumsOf(log, 'ann')).toEqual([1])
    await append(log, add('ann', 1))
    // The position is committed: nothing is skipped again.
    await runUntilRead({ log })
    expect(await sumsOf(log, 'ann')).toEqual([1, 2])
  })

  test('verify reports the outputs that retention removed, and none of them as missing', async () => {
    await append(log, ...Array.from({ length: 4 }, () => add('ann', 1)))
    await runUntilRead({ log })
    const last = (await recordsOf(log, counted.type)).at(-1)
    await log.deleteBefore(counted.type, homeOf('ann'), last?.offset ?? 0n)
    const stage = { name: 'count', variant: [], create: () => counting() }
    const report = await verifyStage(stage, { log, blobs: memoryBlobs(), vocabulary, partitions: PARTITIONS })
    expect(report).toMatchObject({ rebuilt: 4, equal: 1, recorded: 1, differences: 0 })
    expect(report.unverifiable).toEqual([
      expect.stringMatching(/^recorded event expired: .*test\.counted partition \d/),
    ])
  })
})
