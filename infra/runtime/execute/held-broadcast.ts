import { z } from 'zod'
import { type Broadcast, broadcastOf, type Processor } from '../../../processors/processor.ts'
import type { Event } from '../../../schemas/declare/event.ts'
import type { StateChange } from './executed.ts'
import { broadcastKey } from './state-keys.ts'
import { currentState } from './stored-state.ts'

/** A broadcast state as it is stored: with its own version, which is not that of the states of keys. */
export const storedBroadcast = z.object({ version: z.int().nonnegative(), state: z.json() })
export type StoredBroadcast = z.infer<typeof storedBroadcast>

/**
 * The broadcast state of one task. Empty for a processor that declares none. Those of other variants are kept as they
 * are stored.
 */
export class HeldBroadcast {
  #name = ''
  // biome-ignore lint/suspicious/noExplicitAny: of any processor.
  #declared: Broadcast<any> | undefined
  #types: ReadonlySet<string> = new Set()
  #state: { readonly value: unknown } | undefined
  #changed = false
  /** By their keys. */
  readonly #others = new Map<string, StoredBroadcast>()

  constructor(processor: Processor) {
    this.become(processor)
  }

  become(processor: Processor): void {
    const stored = new Map(this.#stored())
    this.#name = processor.name
    this.#declared = broadcastOf(processor)
    this.#types = new Set(this.#declared?.inputs.map(({ type }) => type))
    this.#state = undefined
    this.#others.clear()
    for (const [key, state] of stored) this.restore(key, state)
  }

  get #key(): string | undefined {
    return this.#declared === undefined ? undefined : broadcastKey(this.#declared.name)
  }

  takes({ type }: Event): boolean {
    return this.#types.has(type)
  }

  get value(): unknown {
    return this.#state === undefined ? this.#declared?.initial : this.#state.value
  }

  /** See `Execution.lacks`. */
  lacks(): string | undefined {
    const needed = this.#declared?.needed
    return needed === undefined || needed.isThere(this.value) ? undefined : needed.about
  }

  /** @throws what the processor throws: the state is then unchanged */
  apply(event: Event): void {
    this.set(this.after(event))
  }

  /** The state that an event makes. @throws what the processor throws */
  after(event: Event): unknown {
    return this.#declared?.apply(this.value, event)
  }

  set(value: unknown): void {
    this.#state = { value }
    this.#changed = true
  }

  /** @throws StateVersionError, NoUpcasterError */
  restore(key: string, stored: StoredBroadcast | undefined): void {
    const declared = this.#declared
    if (declared === undefined || key !== this.#key) {
      if (stored === undefined) this.#others.delete(key)
      else this.#others.set(key, stored)
    } else if (stored === undefined) this.#state = undefined
    else this.#state = { value: currentState(`${this.#name}, broadcast`, declared, stored.version, stored.state) }
  }

  states(): [string, StoredBroadcast][] {
    return this.#stored().map(([key, stored]) => [key, structuredClone(stored)])
  }

  #stored(): [string, StoredBroadcast][] {
    return [...this.#others, ...this.#own()]
  }

  #own(): [string, StoredBroadcast][] {
    if (this.#state === undefined || this.#declared === undefined) return []
    const { name, version } = this.#declared
    return [[broadcastKey(name), { version, state: this.#state.value } as StoredBroadcast]]
  }

  takeChanges(): StateChange[] {
    if (!this.#changed) return []
    this.#changed = false
    return this.#own().map(([key, state]) => ({ key, state: structuredClone(state) }))
  }
}
