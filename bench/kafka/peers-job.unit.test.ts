import { expect, test } from 'vitest'
import { partitionOf } from '../../schemas/wire/routing.ts'
import { PARTITIONS } from '../tower-log.ts'
import { differenceOf, groupCount, groupsOf, KEYS, messageOf, rewardOf, VALUE_BYTES } from './peers-job.ts'

test('a message is 256 bytes of JSON with its number and its reward, under one of 64 keys', () => {
  const keys = new Set<string>()
  for (const sequence of [0, 1, 63, 64, 9_999, 199_999]) {
    const { key, value } = messageOf(sequence)
    expect(value.length).toBe(VALUE_BYTES)
    expect(JSON.parse(Buffer.from(value).toString())).toMatchObject({ key, sequence, reward: rewardOf(sequence) })
  }
  for (let sequence = 0; sequence < 1_000; sequence++) keys.add(messageOf(sequence).key)
  expect(keys.size).toBe(KEYS)
  expect(new Set([...keys].map((key) => partitionOf(key, PARTITIONS))).size).toBe(PARTITIONS)
})

test('rewards are spread over [0, 1)', () => {
  const rewards = Array.from({ length: 10_000 }, (_, sequence) => rewardOf(sequence))
  expect(rewards.every((reward) => reward >= 0 && reward < 1)).toBe(true)
  expect(rewards.reduce((sum, reward) => sum + reward, 0) / rewards.length).toBeCloseTo(0.5, 1)
  expect(new Set(rewards).size).toBe(rewards.length)
})

test('one group is expected for every 16 messages of a key', () => {
  for (const messages of [1, 1_023, 1_024, 8_000, 12_345]) expect(groupsOf(messages)).toHaveLength(groupCount(messages))
  expect(groupCount(200_000)).toBe(12_480)
})

test('a group that is missing, occurs twice or has one wrong number is a difference', () => {
  const groups = groupsOf(4_096)
  const [first, ...rest] = groups as [(typeof groups)[0], ...typeof groups]
  const other = (change: object) => [{ ...first, ...change }, ...rest]
  expect(differenceOf(groups.toReversed(), groups)).toBeUndefined()
  expect(differenceOf(other({ mean: first.mean * (1 + 1e-14) }), groups)).toBeUndefined()
  expect(differenceOf(other({ mean: first.mean * (1 + 1e-10) }), groups)).toContain('group k00/0: number 0')
  expect(differenceOf(other({ advantages: first.advantages.toReversed() }), groups)).toContain('group k00/0: number 2')
  expect(differenceOf(other({ advantages: first.advantages.slice(1) }), groups)).toContain('16 advantages, got 15')
  expect(differenceOf(rest, groups)).toBe('group k00/0 did not come')
  expect(differenceOf([...groups, first], groups)).toBe('group k00/0 came twice')
  expect(differenceOf([...groups, { ...first, group: 99 }], groups)).toBe('expected 256 groups, got 257')
})
