import { expect, test } from 'vitest'
import type { LogRecord, Seen } from './log.ts'
import { decodeSeen, digestOf, encodeSeen, seenAfter } from './seen.ts'

const record: LogRecord = {
  topic: 't',
  partition: 0,
  offset: 7n,
  appended_ms: 1_700_000_000_123,
  key: 'k',
  headers: [{ name: 'ce_id', value: 'a' }],
  value: Buffer.from('value'),
}

test('what a position has seen survives encoding as one line', () => {
  const last = { offset: 2n ** 60n, appended_ms: 1_700_000_000_123, digest: digestOf(record) }
  const all: Seen[] = [
    { topic_id: 'id' },
    { topic_id: '' },
    { topic_id: 'id', last },
    { topic_id: '', last, state_in: 'one,two' },
  ]
  for (const seen of all) expect(decodeSeen(encodeSeen(seen))).toEqual(seen)
})

test('metadata that other programs store with an offset is not taken for it', () => {
  for (const text of [undefined, null, '', 'metadata', '2 id - - -', '{"a":1}']) {
    expect(decodeSeen(text)).toBeUndefined()
  }
})

test('a damaged text is ignored', () => {
  const [topic, ...last] = ['id', '41', '1700000000123', digestOf(record)]
  const text = (parts: readonly string[]) => `1 ${topic} ${parts.join(' ')} - -`
  expect(decodeSeen(text(last))?.last).toBeDefined()
  for (const [at, part] of last.entries()) {
    for (const other of [`\u00b1${part.slice(1)}`, '', '-'])
      expect(decodeSeen(text(last.with(at, other)))).toBeUndefined()
  }
})

test('a digest distinguishes records by key, headers and value, not by their place', () => {
  const same = digestOf({ ...record, offset: 9n, appended_ms: 0, partition: 3 } as LogRecord)
  expect(same).toBe(digestOf(record))
  const others: Partial<LogRecord>[] = [
    { key: null },
    { key: 'K' },
    { headers: [{ name: 'ce_id', value: 'b' }] },
    { headers: [{ name: 'ce_ida', value: '' }] },
    { value: Buffer.from('Value') },
    { value: Buffer.alloc(0) },
    { value: null },
    { value: Buffer.alloc(100_000, 1) },
    { value: Buffer.alloc(100_001, 1) },
  ]
  const digests = others.map((other) => digestOf({ ...record, ...other }))
  expect(new Set([same, ...digests]).size).toBe(others.length + 1)
})

test('over gaps the last record before stays the last one, but not that of another topic', () => {
  const before = { seen: seenAfter({}, 'id', record) }
  expect(seenAfter(before, 'id', undefined)).toEqual(before.seen)
  expect(seenAfter(before, 'other', undefined)).toEqual({ topic_id: 'other' })
})
