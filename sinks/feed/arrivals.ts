import { createHash } from 'node:crypto'
import type { Subscription } from './consumer-parts.ts'
import type { Draw, ExpiredOffsets } from './decide/lease.ts'
import type { GroupTopic, Summary } from './group-topic.ts'

/** How long a shuffled group waits for its window to fill. Inferred. */
const WINDOW_WAITS_MS = 1_000

/**
 * The groups of a subscription that have not been drawn, in their order. The partitions are merged by the time of their
 * groups, up to an end that is the same for all partitions; what is formed later comes after. So the order of the groups
 * that were formed before the subscription depends on these alone.
 */
export class Arrivals {
  readonly #topic: GroupTopic
  readonly #subscription: Subscription
  readonly #now_ms: () => number
  /** Groups that were read and not handed out yet, by partition. */
  readonly #read: Summary[][]
  /** By partition: where reading goes on. */
  readonly #next: number[]
  /** By partition: the page that follows, which is read while the groups before it are trained on. */
  readonly #ahead: (Ahead | undefined)[] = []
  /** By partition: the end when the consumer subscribed. */
  readonly #formed_before: readonly number[]
  /** By partition: up to where the merge goes. */
  #until: readonly number[]
  /** Candidates of a window that is not full yet, and since when. */
  #window: Summary[] = []
  #since_ms = 0
  #draws: Draw[] = []
  /** What left the log before it was read, and is not recorded yet. */
  #expired: ExpiredOffsets[] = []

  /** @param drawn by partition, the first offset that has not been drawn */
  constructor(
    topic: GroupTopic,
    subscription: Subscription,
    drawn: ReadonlyMap<number, number>,
    now_ms: () => number = () => performance.now(),
  ) {
    this.#topic = topic
    this.#subscription = subscription
    this.#now_ms = now_ms
    this.#formed_before = byPartition(subscription.formed_before)
    this.#until = this.#formed_before
    this.#next = this.#until.map((_, partition) => drawn.get(partition) ?? 0)
    this.#read = this.#until.map(() => [])
  }

  /** At least so many groups, if there are as many now. They stay here until `settle`. */
  async next(groups: number): Promise<readonly Draw[]> {
    let there = this.#draws.reduce((sum, draw) => sum + draw.length, 0)
    while (there < groups) {
      const draw = await this.#draw()
      if (draw === undefined) break
      this.#draws.push(draw)
      there += draw.length
    }
    return this.#draws
  }

  /** Resolves when the pages that are being read ahead are there. Never rejects. */
  async pagesAhead(): Promise<void> {
    await Promise.allSettled(this.#ahead.map((ahead) => ahead?.page))
  }

  /** What left the log unread, where no group before it is still to be drawn. It stays here until `settle`. */
  get expired(): readonly ExpiredOffsets[] {
    const undrawn = [...this.#read.flat(), ...this.#window, ...this.#draws.flat()]
    return this.#expired.filter(
      ({ partition, first_offset }) =>
        !undrawn.some((group) => group.partition === partition && group.offset < first_offset),
    )
  }

  /** Forgets what has been drawn. */
  settle(drawn: ReadonlyMap<number, number>): void {
    this.#expired = this.#expired.filter(({ partition, until_offset }) => until_offset > (drawn.get(partition) ?? 0))
    this.#draws = this.#draws.filter(
      ([first]) => first !== undefined && first.offset >= (drawn.get(first.partition) ?? 0),
    )
  }

  /** How many groups there may be at most behind those that were read. */
  async behind(): Promise<number> {
    const ends = await this.#topic.ends()
    const unread = ends.reduce((sum, end, partition) => sum + Math.max(0, end - (this.#next[partition] ?? 0)), 0)
    const read = this.#read.reduce((sum, groups) => sum + groups.length, 0)
    return unread + read + this.#window.length + this.#draws.reduce((sum, draw) => sum + draw.length, 0)
  }

  async #draw(): Promise<Draw | undefined> {
    const { order, order_window, order_seed } = this.#subscription
    const size = order === 'arrival' ? 1 : order_window
    while (this.#window.length < size) {
      const first = await this.#earliest()
      if (first === undefined) break
      if (this.#window.length === 0) this.#since_ms = this.#now_ms()
      this.#window.push(first)
    }
    if (this.#window.length === 0) return undefined
    if (this.#window.length < size && !this.#endsHere()) return undefined
    const window = this.#window
    this.#window = []
    return size === 1 ? window : shuffled(window, order_seed)
  }

  /** Whether a window ends though it is not full: with the last group formed before, or because it has waited. */
  #endsHere(): boolean {
    const last = this.#window.at(-1)
    if (last !== undefined && last.offset < (this.#formed_before[last.partition] ?? 0)) return true
    return this.#now_ms() - this.#since_ms >= WINDOW_WAITS_MS
  }

  /** The next group in the order of the merge, or undefined when none is there. */
  async #earliest(): Promise<Summary | undefined> {
    for (;;) {
      await this.#fill()
      const heads = this.#read.flatMap((groups) => groups.slice(0, 1))
      const [first, ...others] = heads
      if (first !== undefined) {
        const earliest = others.reduce((one, other) => (isBefore(other, one) ? other : one), first)
        this.#read[earliest.partition]?.shift()
        return earliest
      }
      // A window does not reach beyond the groups formed before.
      if (this.#window.length > 0 && this.#until === this.#formed_before) return undefined
      const ends = await this.#topic.ends()
      if (ends.every((end, partition) => end <= (this.#until[partition] ?? 0))) return undefined
      this.#until = ends
    }
  }

  /** Reads on in every partition of which nothing is left, until there is a group that matches, or the end. */
  async #fill(): Promise<void> {
    // Every partition comes to its end before an error is thrown: none may go on reading during the next call.
    const read = await Promise.allSettled(this.#until.map((until, partition) => this.#fillPartition(partition, until)))
    for (const one of read) if (one.status === 'rejected') throw one.reason
  }

  async #fillPartition(partition: number, until: number): Promise<void> {
    const { topic_id, filter } = this.#subscription
    const groups = this.#read[partition] ?? []
    while (groups.length === 0 && (this.#next[partition] ?? 0) < until) {
      const from = this.#next[partition] ?? 0
      const page = await this.#page(topic_id, partition, from)
      if (page.next < until) this.#readAhead(topic_id, partition, page.next)
      if (page.gone) this.#expired.push({ partition, first_offset: from, until_offset: page.next })
      groups.push(...page.groups.filter((group) => group.offset < until && matches(filter, group)))
      this.#next[partition] = Math.min(until, page.next)
      if (page.next <= from) return
    }
  }

  async #page(topic_id: string, partition: number, from: number): Promise<Page> {
    const ahead = this.#ahead[partition]
    this.#ahead[partition] = undefined
    const page = ahead?.from === from ? await ahead.page.catch(() => undefined) : undefined
    // What failed or was held up then may work now.
    return page !== undefined && page.next > from ? page : await this.#topic.page(topic_id, partition, from)
  }

  #readAhead(topic_id: string, partition: number, from: number): void {
    const page = this.#topic.page(topic_id, partition, from)
    // It is read again when it is asked for.
    page.catch(() => undefined)
    this.#ahead[partition] = { from, page }
  }
}

type Page = Awaited<ReturnType<GroupTopic['page']>>

interface Ahead {
  readonly from: number
  readonly page: Promise<Page>
}

function byPartition(places: readonly { readonly partition: number; readonly offset: number }[]): number[] {
  const offsets: number[] = []
  for (const { partition, offset } of places) offsets[partition] = offset
  return Array.from(offsets, (offset) => offset ?? 0)
}

const isBefore = (one: Summary, other: Summary) =>
  one.time === other.time ? one.partition < other.partition : one.time < other.time

/** Whether a subscription takes a group. */
export function matches(filter: Subscription['filter'], group: Summary): boolean {
  const takes = (wanted: string | null, found: string) => wanted === null || wanted === found
  return (
    takes(filter.origin, group.origin) &&
    takes(filter.task, group.task) &&
    takes(filter.dialect, group.dialect) &&
    takes(filter.reward_name, group.reward_name) &&
    (filter.lineages === null || (group.lineage !== null && filter.lineages.includes(group.lineage))) &&
    (filter.purposes === null || filter.purposes.some((purpose) => purpose === group.purpose)) &&
    !(filter.with_variance && group.zero_variance)
  )
}

/** Sorted by a hash of seed and group, so the order depends on neither process nor time. */
function shuffled(window: readonly Summary[], seed: string): Summary[] {
  const keyed = window.map((group) => {
    return { group, key: createHash('sha256').update(`${seed}\0${group.group_id}\0${group.offset}`).digest('hex') }
  })
  return keyed.sort((one, other) => (one.key < other.key ? -1 : 1)).map(({ group }) => group)
}
