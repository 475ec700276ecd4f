import type { Deadline } from '../../../processors/processor.ts'
import type { ClockDomain } from '../../../schemas/declare/event.ts'

/** The heap and the map share one object per deadline: there are hundreds of thousands of them in a week. */
interface Entry {
  readonly key: string
  readonly clock: ClockDomain
  readonly time: string
  readonly housekeeping: boolean
}

/** The deadlines of keys, per clock: a binary heap whose outdated entries are skipped when they reach the top. */
export class Deadlines {
  readonly #heaps: Record<ClockDomain, Entry[]> = { virtual: [], wall: [] }
  readonly #current = new Map<string, Entry>()

  set(key: string, deadline: Deadline | undefined): void {
    const before = this.#current.get(key)
    if (before?.time === deadline?.time && before?.clock === deadline?.clock) return
    if (deadline === undefined) {
      this.#current.delete(key)
      return
    }
    const { clock, time, housekeeping = false } = deadline
    const entry = { key, clock, time, housekeeping }
    this.#current.set(key, entry)
    push(this.#heaps[clock], entry)
  }

  /** Keys due at `now`, earliest first, then by key. Each is returned once. */
  due(now: Deadline): string[] {
    const heap = this.#heaps[now.clock]
    const keys: string[] = []
    for (let top = heap[0]; top !== undefined && top.time <= now.time; top = heap[0]) {
      pop(heap)
      if (this.#current.get(top.key) !== top) continue
      this.#current.delete(top.key)
      keys.push(top.key)
    }
    return keys
  }

  /** The latest open deadline of a clock, housekeeping aside, for `--expire-pending`. */
  latest(clock: ClockDomain): string | undefined {
    let latest: string | undefined
    for (const deadline of this.#current.values()) {
      if (deadline.clock === clock && !deadline.housekeeping && (latest === undefined || deadline.time > latest))
        latest = deadline.time
    }
    return latest
  }
}

const before = (a: Entry, b: Entry) => a.time < b.time || (a.time === b.time && a.key < b.key)

function push(heap: Entry[], entry: Entry): void {
  let at = heap.push(entry) - 1
  while (at > 0) {
    const parent = (at - 1) >> 1
    if (!before(entry, heap[parent] as Entry)) break
    heap[at] = heap[parent] as Entry
    at = parent
  }
  heap[at] = entry
}

function pop(heap: Entry[]): void {
  const last = heap.pop()
  if (last === undefined || heap.length === 0) return
  let at = 0
  for (;;) {
    let child = 2 * at + 1
    if (child >= heap.length) break
    if (child + 1 < heap.length && before(heap[child + 1] as Entry, heap[child] as Entry)) child++
    if (!before(heap[child] as Entry, last)) break
    heap[at] = heap[child] as Entry
    at = child
  }
  heap[at] = last
}
