import { beforeEach, expect, test } from 'vitest'
import {
  add,
  append,
  counting,
  PARTITIONS,
  runUntilRead,
  sumsOf,
  TOPICS,
  vocabulary,
} from '../../../testing/counting.ts'
import { memoryBlobs } from '../../blobs/memory.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'
import type { Log, Producer, Transaction } from '../../log/port/log.ts'
import { verifyStage } from '../../verify/verify-stage.ts'

let log: Log

beforeEach(async () => {
  log = memoryLog()
  await log.createTopics(TOPICS)
})

/** The log, but each commit waits for `until` before it is written. */
function withCommits(until: (commit: number) => Promise<void>): Log {
  let commits = 0
  const slow = (inner: Transaction): Transaction => ({
    append: (topic, partition, record) => inner.append(topic, partition, record),
    positions: (claim, positions) => inner.positions(claim, positions),
    standalonePositions: (group, positions) => inner.standalonePositions(group, positions),
    abort: () => inner.abort(),
    async commit() {
      try {
        await until(commits++)
      } catch (error) {
        await inner.abort()
        throw error
      }
      await inner.commit()
    },
  })
  return new Proxy(log, {
    get(of, name) {
      if (name === 'producer') {
        return async (options: { transactional_id: string }): Promise<Producer> => {
          const inner = await of.producer(options)
          return { begin: () => slow(inner.begin()), close: () => inner.close() }
        }
      }
      const value: unknown = Reflect.get(of, name)
      return typeof value === 'function' ? value.bind(of) : value
    },
  })
}

/** `computed` resolves when a key's sum was computed, committed or not. */
function watched(sum: number) {
  let tell = () => {}
  const computed = new Promise<void>((resolve) => {
    tell = resolve
  })
  const base = counting()
  const processor = counting({
    apply(state, event, emit) {
      const next = base.apply(state, event, emit, undefined)
      if (next?.sum === sum) tell()
      return next
    },
  })
  return { computed, processor }
}

test('records that arrive during a commit are processed meanwhile, and committed after it', async () => {
  const { computed, processor } = watched(3)
  await append(log, add('ann', 1))
  const slow = withCommits(async (commit) => {
    if (commit > 0) return
    await append(log, add('ann', 2))
    await computed
    expect(await sumsOf(log, 'ann')).toEqual([])
  })
  await runUntilRead({ log: slow, processor })
  expect(await sumsOf(log, 'ann')).toEqual([1, 3])
})

test('a failed commit discards what was processed on top of it', async () => {
  const { computed, processor } = watched(3)
  const blobs = memoryBlobs()
  await append(log, add('ann', 1))
  const failing = withCommits(async (commit) => {
    if (commit > 0) return
    await append(log, add('ann', 2))
    await computed
    throw new Error('no space left on device')
  })
  const events = await runUntilRead({ log: failing, processor, blobs })
  expect(events).toContainEqual(expect.objectContaining({ kind: 'retrying' }))
  expect(await sumsOf(log, 'ann')).toEqual([1, 3])
  const stage = { name: 'count', variant: [], create: () => counting() }
  const verified = await verifyStage(stage, { log, blobs, vocabulary, partitions: PARTITIONS })
  expect(verified).toMatchObject({ equal: 2, differences: 0 })
})

test('a snapshot holds the committed state, whatever was processed meanwhile', async () => {
  const { computed, processor } = watched(3)
  const blobs = memoryBlobs()
  await append(log, add('ann', 1))
  const slow = withCommits(async (commit) => {
    if (commit > 0) return
    await append(log, add('ann', 2))
    await Promise.race([computed, new Promise((soon) => setTimeout(soon, 100))])
  })
  await runUntilRead({ log: slow, processor, blobs, tuning: { snapshot_every: 1 } })
  await append(log, add('ann', 4))
  await runUntilRead({ log, blobs })
  expect(await sumsOf(log, 'ann')).toEqual([1, 3, 7])
})
