import type { DataOf, Event } from '../../schemas/declare/event.ts'
import { encodeEvent } from '../../schemas/wire/codec.ts'
import { sourceId } from '../../schemas/wire/identity.ts'
import { GROUP, rewardObserved, statisticsOf } from './group-rewards.ts'

/** The job of all programs: read messages of 256 bytes under 64 keys, write a group for every 16 rewards of a key. */

export const KEYS = 64
export const VALUE_BYTES = 256

export interface Group {
  readonly key: string
  readonly group: number
  readonly mean: number
  readonly standard_deviation: number
  readonly advantages: readonly number[]
}

/** Message `sequence` as an event; the record's value, 256 bytes of JSON, is what the peers read. */
export function messageOf(sequence: number) {
  const key = `k${String(sequence % KEYS).padStart(2, '0')}`
  const event: Event<typeof rewardObserved> = {
    id: sourceId(['bench', String(sequence)]),
    source: '/sources/bench',
    type: rewardObserved.type,
    version: 1,
    time: new Date(Date.UTC(2026, 0, 1) + sequence).toISOString(),
    key,
    clock: 'virtual',
    causes: [],
    data: padded({ key, sequence, reward: rewardOf(sequence), padding: '' }),
  }
  const record = encodeEvent(rewardObserved, event)
  if (record.value.length !== VALUE_BYTES) {
    throw new Error(`message ${sequence}: expected ${VALUE_BYTES} bytes of value, got ${record.value.length}`)
  }
  return record
}

function padded(data: DataOf<typeof rewardObserved>): DataOf<typeof rewardObserved> {
  const bytes = Buffer.byteLength(JSON.stringify(data))
  return { ...data, padding: 'x'.repeat(VALUE_BYTES - bytes) }
}

/** In [0, 1), spread evenly and always the same: the finaliser of MurmurHash3 of the number. */
export function rewardOf(sequence: number): number {
  let hash = Math.imul(sequence + 1, 0x9e3779b1)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32
}

/** How many groups the first `messages` messages complete. */
export function groupCount(messages: number): number {
  let groups = 0
  for (let key = 0; key < KEYS; key++) groups += Math.floor(Math.floor((messages - 1 - key + KEYS) / KEYS) / GROUP)
  return groups
}

/** The groups of the first `messages` messages, computed without any log. */
export function groupsOf(messages: number): Group[] {
  const groups: Group[] = []
  for (let key = 0; key < KEYS; key++) {
    let rewards: number[] = []
    let group = 0
    for (let sequence = key; sequence < messages; sequence += KEYS) {
      rewards.push(rewardOf(sequence))
      if (rewards.length < GROUP) continue
      groups.push({ key: `k${String(key).padStart(2, '0')}`, group, ...statisticsOf(rewards) })
      rewards = []
      group += 1
    }
  }
  return groups
}

const TOLERANCE = 1e-12

/**
 * The first difference between the groups found and those expected, in words; undefined if there is none. Each group
 * must occur once, with every number within 1e-12 of its size.
 */
export function differenceOf(found: readonly Group[], expected: readonly Group[]): string | undefined {
  const byName = new Map<string, Group>()
  for (const group of found) {
    const name = `${group.key}/${group.group}`
    if (byName.has(name)) return `group ${name} came twice`
    byName.set(name, group)
  }
  for (const wanted of expected) {
    const name = `${wanted.key}/${wanted.group}`
    const group = byName.get(name)
    if (group === undefined) return `group ${name} did not come`
    const values = numbersOf(group)
    const wrong = numbersOf(wanted).findIndex((value, at) => !isNear(values[at], value))
    if (values.length !== GROUP + 2) return `group ${name}: expected ${GROUP} advantages, got ${values.length - 2}`
    if (wrong >= 0) return `group ${name}: number ${wrong}: expected ${numbersOf(wanted)[wrong]}, got ${values[wrong]}`
  }
  return found.length === expected.length ? undefined : `expected ${expected.length} groups, got ${found.length}`
}

const numbersOf = ({ mean, standard_deviation, advantages }: Group) => [mean, standard_deviation, ...advantages]

function isNear(value: number | undefined, expected: number): boolean {
  return value !== undefined && Math.abs(value - expected) <= TOLERANCE * Math.max(1, Math.abs(expected))
}
