import { describe, expect, test } from 'vitest'
import { Backoff } from './backoff.ts'

const WAITS = { first_ms: 100, longest_ms: 1_000, permanent_ms: 5_000 }
const transient = { permanent: false, retry_after_ms: undefined }

describe('Backoff', () => {
  test('doubles with each failure, up to the longest', () => {
    const backoff = new Backoff(WAITS, () => 1)
    let now_ms = 0
    const waits = Array.from({ length: 6 }, () => {
      const wait_ms = backoff.failed(transient, now_ms, now_ms)
      now_ms += wait_ms
      return wait_ms
    })
    expect(waits).toEqual([100, 200, 400, 800, 1_000, 1_000])
  })

  test('half of a wait is jitter', () => {
    expect(new Backoff(WAITS, () => 0).failed(transient, 0, 0)).toBe(50)
    expect(new Backoff(WAITS, () => 0.5).failed(transient, 0, 0)).toBe(75)
  })

  test('calls that were in progress together fail once together', () => {
    const backoff = new Backoff(WAITS, () => 1)
    for (const now_ms of [10, 11, 12]) backoff.failed(transient, 0, now_ms)
    expect(backoff.until_ms).toBe(112)
    expect(backoff.failed(transient, 112, 120)).toBe(200)
  })

  test('never shorter than Retry-After, and no failure shortens an earlier wait', () => {
    const backoff = new Backoff(WAITS, () => 0)
    expect(backoff.failed({ permanent: false, retry_after_ms: 30_000 }, 0, 0)).toBe(30_000)
    expect(backoff.failed(transient, 0, 1_000)).toBe(29_000)
  })

  test('a failure that only a person can fix is retried slowly from the first time on', () => {
    expect(new Backoff(WAITS, () => 1).failed({ permanent: true, retry_after_ms: undefined }, 0, 0)).toBe(5_000)
  })

  test('a success ends it, unless its call began before the failure', () => {
    const backoff = new Backoff(WAITS, () => 1)
    backoff.failed(transient, 5, 10)
    backoff.succeeded(5)
    expect(backoff.until_ms).toBe(110)
    backoff.succeeded(110)
    expect(backoff.until_ms).toBe(0)
    expect(backoff.failed(transient, 200, 200)).toBe(100)
  })
})
