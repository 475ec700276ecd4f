import { expect, test } from 'vitest'
import { formed } from '../../testing/feed-log.ts'
import { catalogueOf } from '../declare/registry.ts'
import { groupFormed } from '../events/rollout.ts'
import { decodeEvent, encodeEvent } from './codec.ts'

const catalogue = catalogueOf([groupFormed])
/** Found in the encoded bytes, to be replaced. */
const [TOKEN, VERSION, LOGPROB] = [1_234_567, 7_654_321, -0.123]

function tokens() {
  const event = formed('g', { rewards: [1, 0, 0.5] })
  const lists = {
    token_ids: [1, TOKEN, 3],
    completion_mask: [0, 1, 1],
    logprobs: [-1, Math.fround(LOGPROB), -0.5],
    token_policy_version: [VERSION, VERSION, VERSION],
  }
  const data = event.data.map((row, at) => (at === 1 ? row : { ...row, ...lists }))
  return { ...event, data }
}

/** The record of the group with one number changed. */
function damaged(change: (view: DataView, at: number) => void, found: (bytes: Buffer) => number) {
  const record = encodeEvent(groupFormed, tokens())
  const value = Buffer.from(record.value)
  const at = found(value)
  expect(at).toBeGreaterThan(0)
  change(new DataView(value.buffer, value.byteOffset), at)
  return { ...record, value }
}

const numberOf = (write: (bytes: Buffer) => unknown, size: number) => {
  const bytes = Buffer.alloc(size)
  write(bytes)
  return (value: Buffer) => value.indexOf(bytes)
}

function refusal(decode: () => unknown): string {
  try {
    decode()
  } catch (error) {
    return (error as Error).message
  }
  return 'accepted'
}

test('lists of numbers that are only checked are decoded as empty ones, null lists as null, and the rest as it is', () => {
  const record = encodeEvent(groupFormed, tokens())
  const whole = decodeEvent(record, catalogue)
  const lists = { token_ids: [], completion_mask: [], logprobs: [], token_policy_version: [] }
  const data = tokens().data.map((row, at) => (at === 1 ? row : { ...row, ...lists }))
  expect(decodeEvent(record, catalogue, undefined, 'checked')).toEqual({ ...whole, data })
})

test.each([
  [
    'a negative token id',
    damaged(
      (view, at) => view.setInt32(at, -1, true),
      numberOf((b) => b.writeInt32LE(TOKEN), 4),
    ),
  ],
  [
    'a log-probability that is no number',
    damaged(
      (view, at) => view.setFloat32(at, Number.NaN, true),
      numberOf((b) => b.writeFloatLE(LOGPROB), 4),
    ),
  ],
  [
    'an infinite log-probability',
    damaged(
      (view, at) => view.setFloat32(at, -Infinity, true),
      numberOf((b) => b.writeFloatLE(LOGPROB), 4),
    ),
  ],
  [
    'a version beyond the safe integers',
    damaged(
      (view, at) => view.setBigInt64(at, 2n ** 53n, true),
      numberOf((b) => b.writeBigInt64LE(BigInt(VERSION)), 8),
    ),
  ],
  [
    'a version below the safe integers',
    damaged(
      (view, at) => view.setBigInt64(at, -(2n ** 53n), true),
      numberOf((b) => b.writeBigInt64LE(BigInt(VERSION)), 8),
    ),
  ],
])('%s is refused in the same words whether lists are decoded or checked', (_, record) => {
  const decoded = refusal(() => decodeEvent(record, catalogue))
  expect(decoded).toMatch(/^rollout.group_formed v3: row [02] field (token_ids|logprobs|token_policy_version)/)
  expect(refusal(() => decodeEvent(record, catalogue, undefined, 'checked'))).toBe(decoded)
})
