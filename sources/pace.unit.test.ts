import { expect, test } from 'vitest'
import { perSecond } from './pace.ts'

const { signal } = new AbortController()

test('a slow rate permits one step, then the next after its time', async () => {
  const pace = perSecond(10)
  expect(await pace.permit(signal)).toBe(1)
  pace.taken(1, [])
  const began_ms = performance.now()
  for (let step = 0; step < 4; step++) {
    expect(await pace.permit(signal)).toBeGreaterThanOrEqual(1)
    pace.taken(1, [])
  }
  // Four waits of 100 ms, less what had passed before.
  expect(performance.now() - began_ms).toBeGreaterThan(300)
})

test('a high rate permits a tenth of a second’s steps together, and no more after a pause', async () => {
  const pace = perSecond(1_000)
  for (let turn = 0; turn < 2; turn++) {
    expect(await pace.permit(signal)).toBe(100)
    pace.taken(100, [])
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
})

test('a wait for permission ends when it is aborted', async () => {
  const pace = perSecond(0.001)
  await pace.permit(signal)
  pace.taken(1, [])
  const stop = new AbortController()
  const permitted = pace.permit(stop.signal)
  stop.abort()
  await permitted
})
