import { expect, test } from 'vitest'
import type { Transform } from '../../../processors/processor.ts'
import { counting } from '../../../testing/counting.ts'
import type { LogRecord } from '../../log/port/log.ts'
import { Growth } from './growth.ts'

const MIB = 2 ** 20
const record = (bytes: number): LogRecord => ({
  ...{ topic: 't', partition: 0, offset: 0n, appended_ms: 0, key: null, headers: [] },
  value: new Uint8Array(bytes),
})
const transform = { shape: 'transform' } as Transform

test('a transform starts with small polls, which grow while its outputs stay small', () => {
  const growth = new Growth(transform)
  const sizes = [growth.most_input]
  for (let poll = 0; poll < 10; poll++) {
    growth.see([record(100_000)], 100_000)
    sizes.push(growth.most_input)
  }
  expect(sizes[0]).toBe(64 * 1024)
  expect(sizes[1]).toBe(128 * 1024)
  expect(sizes.at(-1)).toBe(64 * MIB)
})

test('after large outputs the next poll is so small that its outputs take 64 MiB at most', () => {
  const growth = new Growth(transform)
  growth.see([record(1_000), record(1_000)], 4 * MIB)
  const { most_input } = growth
  expect(((most_input / 2_000) * 4 * MIB) / (64 * MIB)).toBeCloseTo(1, 1)
  growth.see([], 0)
  expect(growth.most_input).toBe(most_input)
})

test('a fold is not held back', () => {
  expect(new Growth(counting()).most_input).toBe(64 * MIB)
})
