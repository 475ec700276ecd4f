import { broadcastOf, inputsOf, type Processor } from '../processors/processor.ts'
import type { ScriptedPolicies } from '../processors/scripted.ts'
import type { EventType } from '../schemas/declare/event.ts'
import { isSameDeclaration } from '../schemas/declare/registry.ts'
import type { Origin } from '../schemas/events/origin.ts'
import { type Partitions, partitionsOf } from '../schemas/wire/partitions.ts'
import type { Domain } from './domain.ts'

/** What has to fit together when domains are composed. */
interface Wired {
  readonly partitions: Partitions
  readonly events: readonly EventType[]
  /** Of the stages, in the variants that run now. */
  readonly processors: readonly Processor[]
  readonly fact_sources: readonly Outputting[]
  readonly sweeps: readonly Outputting[]
}
interface Outputting {
  readonly name: string
  readonly outputs: readonly EventType[]
}

/** @throws RangeError when two of a kind have one name */
export function expectUnique(kind: string, parts: readonly { readonly name: string }[]): void {
  const names = new Set<string>()
  for (const { name } of parts) {
    if (names.has(name)) throw new RangeError(`${kind} ${name}: expected one in all domains, found two; rename one`)
    names.add(name)
  }
}

/** @throws RangeError when a domain builds on one that is not there */
export function expectFoundations(domains: readonly Pick<Domain, 'name' | 'builds_on'>[]): void {
  for (const { name, builds_on = [] } of domains) {
    const missing = builds_on.find((foundation) => domains.every((domain) => domain.name !== foundation))
    if (missing === undefined) continue
    const there = domains.map((domain) => domain.name).join(', ')
    throw new RangeError(`domain ${name}: expected ${missing}, on which it builds, next to it; there are ${there}`)
  }
}

/** @throws RangeError when scripted policies are of an origin that is not there, or when two are of the same */
export function expectScripted(origins: readonly Origin[], scripted: readonly ScriptedPolicies[]): void {
  expectUnique(
    'scripted policies of',
    scripted.map(({ origin }) => origin),
  )
  const strange = scripted.find(({ origin }) => origins.every(({ name }) => name !== origin.name))
  if (strange === undefined) return
  const there = origins.map(({ name }) => name).join(', ') || 'none'
  throw new RangeError(
    `scripted policies of ${strange.origin.name}: expected an origin of these domains; there are ${there}`,
  )
}

/** @throws RangeError when no stage or sweep derives what an origin says: its groups would wait for ever */
export function expectDerived(origins: readonly Origin[], { processors, sweeps }: Wired): void {
  const expect = (origin: string, by: string, { type }: EventType) => {
    const found = [...processors, ...sweeps].find(({ name }) => name === by)
    if (found?.outputs.some((output) => output.type === type)) return
    throw new RangeError(`origin ${origin}: expected a processor ${by} that emits ${type}, found none`)
  }
  for (const { name, scored, scored_by, rescored } of origins) {
    expect(name, scored_by, scored)
    if (rescored !== undefined) expect(name, rescored.by, rescored.event)
  }
}

/**
 * Each event once, and in every list's own order as far as they agree: sinks read causes before effects.
 *
 * @throws RangeError when two declarations of one type differ
 */
export function distinctEvents(lists: readonly (readonly EventType[])[]): readonly EventType[] {
  const by_type = new Map<string, EventType>()
  for (const event of lists.flat()) {
    const known = by_type.get(event.type)
    if (known !== undefined && !isSameDeclaration(known, event)) {
      throw new RangeError(`event ${event.type}: expected one declaration in all domains, found two that differ`)
    }
    by_type.set(event.type, known ?? event)
  }
  const types = lists.map((list) => list.map(({ type }) => type))
  const met = new Set<string>()
  const placed: EventType[] = []
  const place = (type: string): void => {
    if (met.has(type)) return
    met.add(type)
    for (const list of types) {
      const before = list[list.indexOf(type) - 1]
      if (before !== undefined) place(before)
    }
    placed.push(by_type.get(type) as EventType)
  }
  for (const type of types.flat()) place(type)
  return placed
}

/** @throws RangeError when a part reads or emits an event that no domain lists: it would have neither topic nor table. */
export function expectListed({ events, processors, fact_sources, sweeps }: Wired): void {
  const expect = (name: string, type: EventType) => {
    const listed = events.find((event) => event.type === type.type)
    if (listed !== undefined && isSameDeclaration(listed, type)) return
    const found = listed === undefined ? 'none that does' : 'another declaration of it'
    throw new RangeError(`${name}: expected a domain that lists its event ${type.type}, found ${found}`)
  }
  for (const { name, outputs } of [...fact_sources, ...sweeps]) for (const type of outputs) expect(name, type)
  for (const processor of processors) {
    for (const type of [...inputsOf(processor), ...processor.outputs]) expect(processor.name, type)
  }
}

/**
 * @throws RangeError when an event of a broadcast state has copies in some partitions only, or the processor is to be
 * called with it too
 */
export function expectBroadcast({ processors }: Pick<Wired, 'processors'>): void {
  for (const processor of processors) {
    for (const { type, routing } of broadcastOf(processor)?.inputs ?? []) {
      const where = `${processor.name}: the event ${type} of its broadcast state`
      if (routing !== 'every_partition')
        throw new RangeError(`${where}: expected one that is routed to every partition`)
      if (processor.inputs.some((input) => input.type === type)) {
        throw new RangeError(`${where}: expected one that is not among its inputs too`)
      }
    }
  }
}

/** @throws RangeError for an unregistered event type, or a processor whose inputs have different partition counts. */
export function expectJoinable({ events, partitions, processors }: Wired): void {
  const unknown = typeof partitions === 'number' ? [] : Object.keys(partitions.by_event)
  for (const type of unknown) {
    if (events.some((event) => event.type === type)) continue
    throw new RangeError(
      `partitions of ${type}: no such event; there are ${events.map((event) => event.type).join(', ')}`,
    )
  }
  for (const processor of processors) {
    const counts = inputsOf(processor).map(({ type }) => [type, partitionsOf(partitions, type)] as const)
    if (counts.every(([, count]) => count === counts[0]?.[1])) continue
    const found = counts.map(([type, count]) => `${type} has ${count}`).join(', ')
    throw new RangeError(`${processor.name} joins its inputs by partition: expected equal counts, but ${found}`)
  }
}
