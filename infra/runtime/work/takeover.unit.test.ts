import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Transform } from '../../../processors/processor.ts'
import { add, append, runUntilRead } from '../../../testing/counting.ts'
import {
  emittedFor,
  GOES,
  hasOnlyMoved,
  SLOW_TOPICS,
  STAYS,
  slow,
  startSlow,
  waitingForTakeover,
} from '../../../testing/slow-transform.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'

/** A worker of two partitions computes when a second one joins: partition 0 stays, and partition 1 goes. */

let log = memoryLog()
let stop = new AbortController()
let running: Promise<void>[] = []

beforeEach(async () => {
  log = memoryLog()
  stop = new AbortController()
  running = []
  await log.createTopics(SLOW_TOPICS)
})

afterEach(async () => {
  stop.abort()
  await Promise.all(running)
})

/** Runs a worker until the test ends. @returns the kinds of its events */
function start(instance: string, processor: Transform): readonly string[] {
  const { kinds, ended } = startSlow(log, instance, processor, stop.signal)
  running.push(ended)
  return kinds
}

const emitted = () => expect.poll(() => emittedFor(log), { timeout: 5_000 })

test('a transform whose partition goes to another worker is aborted, and only the new owner emits its result', async () => {
  const { processor, begun, reasons } = waitingForTakeover()
  await append(log, add(STAYS, 1), add(GOES, 1))
  const first = start('first', processor)
  await begun
  const second = start('second', processor)
  await emitted().toEqual([STAYS, GOES].sort())
  expect(reasons).toEqual(['FencedError'])
  expect([first, second].map(hasOnlyMoved)).toEqual([true, true])
  expect(first).toContain('lost')
  stop.abort()
  await Promise.all(running)
  await runUntilRead({ log, processor })
  expect(await emittedFor(log)).toEqual([STAYS, GOES].sort())
})

test('a transform whose partition stays goes on, and its result is committed without work on the lost one', async () => {
  const begun = Promise.withResolvers<void>()
  const allowed = Promise.withResolvers<void>()
  const calls: string[] = []
  const processor = slow(async (key, { signal }) => {
    calls.push(key)
    if (key !== STAYS) return
    begun.resolve()
    await allowed.promise
    expect(signal.aborted).toBe(false)
  })
  await append(log, add(GOES, 1), add(STAYS, 1), add(GOES, 2))
  const first = start('first', processor)
  await begun.promise
  const second = start('second', processor)
  await emitted().toEqual([GOES, GOES])
  allowed.resolve()
  await emitted().toEqual([STAYS, GOES, GOES].sort())
  expect([first, second].map(hasOnlyMoved)).toEqual([true, true])
  expect(calls.filter((key) => key === STAYS)).toHaveLength(1)
})

test('a transform that ignores the signal delays nothing but its own worker, which drops its result', async () => {
  const begun = Promise.withResolvers<void>()
  const allowed = Promise.withResolvers<void>()
  const processor = slow(async (key) => {
    if (key !== GOES) return
    begun.resolve()
    await allowed.promise
  })
  await append(log, add(GOES, 1))
  const first = start('first', processor)
  await begun.promise
  const second = start(
    'second',
    slow(async () => {}),
  )
  await emitted().toEqual([GOES])
  allowed.resolve()
  await append(log, add(STAYS, 1))
  await emitted().toEqual([GOES, STAYS].sort())
  expect([first, second].map(hasOnlyMoved)).toEqual([true, true])
})
