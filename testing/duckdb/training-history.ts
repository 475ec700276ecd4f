import { FedConsumer, type Place } from './recorded-training.ts'

/** For tests of the views on training: a feed that does whatever it may. */

interface Given {
  readonly place: Place
  sequence?: number
  state: 'waiting' | 'leased' | 'begun' | 'applied' | 'durable' | 'dropped'
  /** How many checkpoints there were with it. */
  saved: number
}

/** A consumer of the pretended feed; `fed` has what the feed appends. */
export class PretendFeed {
  readonly fed: FedConsumer
  readonly #groups: Given[] = []
  #checkpoints: { readonly name: string; readonly step: number }[] = []
  #named = 0
  #sequences = 0
  #step = 0
  #retired = false

  constructor(consumer: string) {
    this.fed = new FedConsumer(consumer)
  }

  /** The feed reads a formed group that matches. */
  reads(place: Place): void {
    this.#groups.push({ place, state: 'waiting', saved: 0 })
  }

  /** Does one thing that it may do now, which `pick` chooses. @returns its name */
  acts(pick: number): string {
    if (this.#retired) return 'rests'
    const may = Object.entries(this.#mayDo(pick >> 4))
    const chosen = may[pick % may.length]
    chosen?.[1]()
    return chosen?.[0] ?? 'rests'
  }

  #mayDo(pick: number): Record<string, () => void> {
    if (this.fed.epoch === 0) return { starts: () => this.fed.started({ world_size: 2 }) }
    const may: Record<string, () => void> = {}
    const rank = pick % 2
    const offer = (name: string, groups: readonly Given[], act: (groups: readonly Given[]) => void) => {
      if (groups.length > 0) may[name] = () => act(groups)
    }
    const waiting = this.#some(pick, 'waiting')
    offer('leases', waiting, (groups) =>
      this.#to('leased', groups, () => this.fed.leased(rank, this.#numbered(groups))),
    )
    offer(
      'numbers',
      waiting.filter(({ sequence }) => sequence === undefined),
      (groups) => this.fed.numbered(rank, this.#numbered(groups)),
    )
    offer('ends a lease', this.#some(pick, 'leased'), (groups) =>
      this.#to('waiting', groups, () => this.fed.ended(rank, named(groups))),
    )
    offer('begins', this.#some(pick, 'leased'), (groups) => this.#begin(rank, groups))
    offer('begins with applied groups', this.#some(pick, 'applied'), (groups) => this.#begin(rank, groups))
    for (const name of ['applies', 'reports']) {
      offer(name, this.#in('begun'), (groups) =>
        this.#to('applied', groups, () =>
          this.fed.applied(rank, this.#step, named(groups)).completed(rank, this.#step, { groups: groups.length }),
        ),
      )
    }
    for (const name of ['saves', 'stores']) offer(name, this.#in('applied'), (groups) => this.#save(groups))
    offer('drops', this.#some(pick, 'waiting', 'leased'), (groups) =>
      this.#to('dropped', groups, () =>
        this.fed.dropped(groups.map(({ sequence, place }) => [sequence ?? null, place] as const)),
      ),
    )
    if (pick % 3 === 0) may.resumes = () => this.#resume(pick)
    if (pick % 29 === 0) {
      may.retires = () => {
        this.#retired = true
        this.fed.retired()
      }
    }
    return may
  }

  #begin(rank: number, groups: readonly Given[]): void {
    this.#step += 1
    this.fed.begun(rank, this.#step, named(groups))
    for (const group of groups) if (group.state === 'leased') group.state = 'begun'
  }

  #save(groups: readonly Given[]): void {
    const name = `c${++this.#named}`
    this.#checkpoints.push({ name, step: this.#step })
    this.#to('durable', groups, () => this.fed.saved(name, this.#step, named(groups)))
    for (const group of groups) group.saved = this.#checkpoints.length
  }

  #resume(pick: number): void {
    const kept = pick % (this.#checkpoints.length + 1)
    this.#checkpoints = this.#checkpoints.slice(0, kept)
    const { name: checkpoint = null, step = 0 } = this.#checkpoints.at(-1) ?? {}
    this.#step = step
    const leased = this.#in('leased', 'begun')
    if (leased.length > 0) this.#to('waiting', leased, () => this.fed.ended(0, named(leased)))
    this.fed.started({ world_size: 2, checkpoint, step })
    const undone = {
      applied: this.#in('applied'),
      durable: this.#in('durable').filter(({ saved }) => saved > kept),
    }
    for (const was of ['applied', 'durable'] as const) {
      const groups = undone[was]
      if (groups.length > 0) this.#to('waiting', groups, () => this.fed.rolledBack(checkpoint, was, named(groups)))
    }
  }

  #to(state: Given['state'], groups: readonly Given[], tell: () => void): void {
    tell()
    for (const group of groups) group.state = state
  }

  #numbered(groups: readonly Given[]) {
    for (const group of groups) group.sequence ??= this.#sequences++
    return named(groups)
  }

  #in(...states: readonly Given['state'][]): readonly Given[] {
    return this.#groups.filter(({ state }) => states.includes(state))
  }

  /** At most three of them. */
  #some(pick: number, ...states: readonly Given['state'][]): readonly Given[] {
    const found = this.#in(...states)
    const from = pick % Math.max(1, found.length)
    return found.slice(from, from + 1 + (pick % 3))
  }
}

const named = (groups: readonly Given[]) => groups.map(({ sequence = -1, place }) => [sequence, place] as const)
