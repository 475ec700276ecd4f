import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { SqlRefusedError } from './sql-errors.ts'
import { type Place, Places } from './sql-places.ts'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

const LIMITS = { most: 2, most_waiting: 2, patience_ms: 10_000, unread_ms: 30_000, unread_while_waiting_ms: 3_000 }

/** A reader with a place, which leaves it when cut off. */
async function reader(places: Places): Promise<{ readonly place: Place; readonly gone: () => boolean }> {
  let gone = false
  const place = await places.take(() => {
    gone = true
    place.leave()
  })
  return { place, gone: () => gone }
}
const never = new Promise<never>(() => {})

test('a query beyond the number of places waits, and gets the place of the first that leaves', async () => {
  const places = new Places(LIMITS)
  const [first] = [await reader(places), await reader(places)]
  const third = reader(places)
  first?.place.leave()
  expect((await third).gone()).toBe(false)
})

test('a query that waits too long is refused, and one beyond the length of the queue at once', async () => {
  const places = new Places(LIMITS)
  await Promise.all([reader(places), reader(places)])
  const waiting = [reader(places), reader(places)].map((each) => expect(each).rejects.toThrow(SqlRefusedError))
  await expect(reader(places)).rejects.toThrow('2 statements run already; try again when one has finished')
  await vi.advanceTimersByTimeAsync(10_000)
  await Promise.all(waiting)
})

test('clients that do not read lose their places to waiting ones, the longest unread first', async () => {
  const places = new Places(LIMITS)
  const readers = [await reader(places), await reader(places)]
  void readers[0]?.place.unread(never)
  await vi.advanceTimersByTimeAsync(1_000)
  void readers[1]?.place.unread(never)
  const third = reader(places)
  await vi.advanceTimersByTimeAsync(2_500)
  await third
  expect(readers.map(({ gone }) => gone())).toEqual([true, false])
})

test('a client that keeps reading keeps its place, however slow it is', async () => {
  const places = new Places({ ...LIMITS, most: 1, patience_ms: 60_000 })
  const { place, gone } = await reader(places)
  void reader(places).catch(() => {})
  for (let piece = 0; piece < 10; piece += 1) {
    void place.unread(new Promise((resolve) => setTimeout(resolve, 2_000)))
    await vi.advanceTimersByTimeAsync(2_000)
  }
  expect(gone()).toBe(false)
})

test('when no query waits, a client that does not read is cut off after half a minute', async () => {
  const places = new Places(LIMITS)
  const { place, gone } = await reader(places)
  void place.unread(never)
  await vi.advanceTimersByTimeAsync(29_000)
  expect(gone()).toBe(false)
  await vi.advanceTimersByTimeAsync(1_500)
  expect(gone()).toBe(true)
  expect(vi.getTimerCount()).toBe(0)
})
