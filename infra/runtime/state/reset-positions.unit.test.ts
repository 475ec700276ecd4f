import { beforeEach, expect, test } from 'vitest'
import {
  add,
  added,
  append,
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
import { changed } from '../../log/conformance/altered-log.ts'
import { MemoryBroker } from '../../log/memory/broker.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'
import { type Log, TopicReplacedError } from '../../log/port/log.ts'
import { verifyStage } from '../../verify/verify-stage.ts'
import { headerOf } from '../internal/json-records.ts'
import { resetProcessor } from './reset-positions.ts'
import { misplacedOf } from './task-positions.ts'

let broker: MemoryBroker
let log: Log

beforeEach(async () => {
  broker = new MemoryBroker()
  log = memoryLog({ broker })
  await log.createTopics(TOPICS)
})

async function makeAgain(topic: string): Promise<void> {
  broker.deleteTopic(topic)
  await log.createTopics(TOPICS)
}

const stage = { name: 'count', variant: [], create: () => counting() }
const verify = () => verifyStage(stage, { log, blobs: memoryBlobs(), vocabulary, partitions: PARTITIONS })

test('after a reset every record of a recreated topic is processed, from empty state, and verify passes', async () => {
  const blobs = memoryBlobs()
  await append(log, add('ann', 1), add('ann', 1), double('ann'), add('bob', 7))
  await runUntilRead({ log, blobs, tuning: { snapshot_every: 1 } })
  await makeAgain(added.type)
  await append(log, ...Array.from({ length: 9 }, () => add('ann', 100)))
  expect((await misplacedOf(log, counting())).length).toBeGreaterThan(0)
  await expect(runUntilRead({ log, blobs })).rejects.toThrow(TopicReplacedError)

  const reset = await resetProcessor(log, counting())
  expect(reset.keys).toBeGreaterThanOrEqual(2)
  expect(await misplacedOf(log, counting())).toEqual([])
  await runUntilRead({ log, blobs })
  const sums = (await sumsOf(log, 'ann')).slice(3)
  expect(sums).toHaveLength(10)
  expect(Math.max(...sums)).toBeGreaterThanOrEqual(900)
  const report = await verify()
  expect(report).toMatchObject({ differences: 0, rebuilt: 10, equal: 10 })
  expect(report.unverifiable).toContainEqual(
    expect.stringMatching(/emitted before its positions were reset: test\.counted partition \d below offset \d+/),
  )
  // A restart resumes after it as after any commit.
  await append(log, add('ann', 1))
  await runUntilRead({ log, blobs })
  expect((await verify()).differences).toBe(0)
})

test('a reset of inputs that still exist emits the same events again, with the same ids', async () => {
  await append(log, add('ann', 1), add('ann', 2))
  await runUntilRead({ log })
  await resetProcessor(log, counting())
  await runUntilRead({ log })
  const ids = (await recordsOf(log, counted.type)).map((record) => headerOf(record, 'ce_id'))
  expect(ids.slice(2)).toEqual(ids.slice(0, 2))
  expect((await verify()).differences).toBe(0)
})

test('a reset can be repeated, and after an interrupted one verify asks to repeat it', async () => {
  await append(log, add('ann', 1))
  await runUntilRead({ log })
  const cut_off = changed(log, {
    deleteBefore: async () => {
      throw new Error('killed')
    },
  })
  await expect(resetProcessor(cut_off, counting())).rejects.toThrow('killed')
  await expect(verify()).rejects.toThrow(/that was cut off.*positions reset --only count/)
  await resetProcessor(log, counting())
  await runUntilRead({ log })
  expect(await sumsOf(log, 'ann')).toEqual([1, 1])
  expect((await verify()).differences).toBe(0)
})

test('a reset is refused while a worker runs, and changes nothing', async () => {
  await append(log, add('ann', 1))
  await runUntilRead({ log })
  const before = await log.committed('count')
  const member = await log.join({ group: 'count', topics: [added.type], session_timeout_ms: 10_000 })
  await expect(resetProcessor(log, counting())).rejects.toThrow('no live members')
  await member.leave()
  expect(await log.committed('count')).toEqual(before)
  expect((await verify()).differences).toBe(0)
})
