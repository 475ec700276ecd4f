import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { memoryLog } from '../memory/memory-log.ts'
import type { LogRecord, Member } from './log.ts'

const TOPICS = ['small', 'large'] as const

// The log stamps records with the wall clock.
beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }))
afterEach(() => void vi.useRealTimers())

/** Appends 200 small and 200 large records in pairs, at the virtual times that `times` gives, and joins a reader. */
async function reader(times: (at: number) => number = (at) => at) {
  const log = memoryLog({ clock: { now_ms: () => 0, sleep: async () => {} } })
  await log.createTopics(TOPICS.map((name) => ({ name, partitions: 1 })))
  const producer = await log.producer({ transactional_id: 'writer' })
  for (let at = 0; at < 200; at++) {
    vi.setSystemTime(times(at))
    const transaction = producer.begin()
    transaction.append('small', 0, { key: null, headers: [], value: new Uint8Array(100) })
    transaction.append('large', 0, { key: null, headers: [], value: new Uint8Array(1_000) })
    await transaction.commit()
  }
  const member = await log.join({ group: 'readers', topics: [...TOPICS], session_timeout_ms: 1_000_000 })
  return member
}

/** Reads to the end, 4,400 bytes at a time. @returns for each poll, how many of each topic were read so far */
async function readAll(member: Member): Promise<Record<string, number>[]> {
  const counts: Record<string, number> = { small: 0, large: 0 }
  const seen: Record<string, number>[] = []
  const orders = new Map<string, bigint>()
  while (counts.small !== 200 || counts.large !== 200) {
    const { records } = await member.poll({ max_bytes: 4_400, wait_ms: 0 })
    for (const { topic, offset } of records as readonly LogRecord[]) {
      expect(offset).toBeGreaterThan(orders.get(topic) ?? -1n)
      orders.set(topic, offset)
      counts[topic] = (counts[topic] ?? 0) + 1
    }
    seen.push({ ...counts })
    expect(seen.length, 'polls').toBeLessThan(1_000)
  }
  return seen
}

test('small records run at most three polls ahead of the large ones that were appended with them', async () => {
  for (const { small = 0, large = 0 } of await readAll(await reader())) expect(small - large).toBeLessThanOrEqual(132)
})

test('where append times are useless, or the clock was set back, everything is still read', async () => {
  for (const times of [() => 7, (at: number) => (at === 20 ? 1e9 : at), (at: number) => 1_000 - at]) {
    await readAll(await reader(times))
  }
})
