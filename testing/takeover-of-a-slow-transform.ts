import { expect } from 'vitest'
import type { LogHarness } from '../infra/log/conformance/harness.ts'
import { add, append } from './counting.ts'
import { emittedFor, GOES, hasOnlyMoved, SLOW_TOPICS, STAYS, startSlow, waitingForTakeover } from './slow-transform.ts'

/** Two workers on their own handles of a log: the second one takes a partition over while the first computes. */
export async function expectTakeover(harness: LogHarness): Promise<void> {
  const stop = new AbortController()
  const log = await harness.open()
  await log.createTopics(SLOW_TOPICS)
  const { processor, begun, reasons } = waitingForTakeover()
  await append(log, add(STAYS, 1), add(GOES, 1))
  const first = startSlow(log, 'first', processor, stop.signal)
  await begun
  const second = startSlow(await harness.open(), 'second', processor, stop.signal)
  try {
    await expect.poll(() => emittedFor(log), { timeout: 20_000 }).toEqual([STAYS, GOES].sort())
    expect(reasons).toEqual(['FencedError'])
    expect([first, second].map(({ kinds }) => hasOnlyMoved(kinds))).toEqual([true, true])
  } finally {
    stop.abort()
    await Promise.all([first.ended, second.ended])
  }
}
