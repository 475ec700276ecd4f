import type { LogRecord } from '../../infra/log/port/log.ts'
import {
  DEAD_LETTERS_TOPIC,
  type DeadLetter,
  type JournalEntry,
  journalTopic,
} from '../../infra/runtime/internal/internal-topics.ts'
import { headerOf, readJson } from '../../infra/runtime/internal/json-records.ts'
import { verifyStage } from '../../infra/verify/verify-stage.ts'
import { inputTopics } from '../../processors/processor.ts'
import type { Event, EventType } from '../../schemas/declare/event.ts'
import { completionsSampled } from '../../schemas/events/policy.ts'
import { completionRejected, groupExpired, groupFormed } from '../../schemas/events/rollout.ts'
import { decodeEvent } from '../../schemas/wire/codec.ts'
import { type GroupPlan, rewardOf } from './inputs.ts'
import { derivingOf, EVENTS, vocabulary } from './stages.ts'
import { checkForgotten, compareRebuilt, compareRestored, reading } from './state-invariants.ts'
import { isAnswer } from './witness.ts'
import type { World } from './world.ts'

function recordsOf(world: World, topic: string): LogRecord[] {
  return world.broker.partitions(topic).flatMap(({ records }) => records)
}

/** Checks journals and states once everything has been read and nothing is in progress, before the states are empty. */
export async function violationsAtRest(world: World, with_rebuild: boolean): Promise<string[]> {
  const found: string[] = []
  countJournals(world, found)
  if (found.length > 0) return found
  await compareRestored(world, found)
  if (with_rebuild) await compareRebuilt(world, found)
  return found
}

/** Each input record must be once in the journal of each stage that reads it. */
function countJournals(world: World, found: string[]): void {
  for (const processor of world.stages) {
    const journalled = new Map<string, number>()
    for (const record of recordsOf(world, journalTopic(processor.name))) {
      const { topics, runs } = readJson<JournalEntry>(record)
      for (const [topic, count] of runs) {
        const place = `${topics[topic]}/${record.partition}`
        journalled.set(place, (journalled.get(place) ?? 0) + count)
      }
    }
    for (const topic of inputTopics(processor)) {
      world.broker.partitions(topic).forEach(({ records }, partition) => {
        const count = journalled.get(`${topic}/${partition}`) ?? 0
        if (count === records.length) return
        found.push(
          `${processor.name}: ${topic}/${partition}: expected ${records.length} records in its journal, got ${count}`,
        )
      })
    }
  }
}

/** Checks once every deadline has passed and every worker has stopped. */
export async function violationsAtEnd(world: World): Promise<string[]> {
  const found: string[] = []
  countJournals(world, found)
  if (found.length > 0) return found
  await verifyStages(world, found)
  countDeadLetters(world, found)
  countOutputs(world, found)
  const emitted = new Emitted(world)
  checkFates(emitted, found)
  for (const group of world.inputs.groups) checkGroup(world, group, emitted, found)
  await checkForgotten(world, found)
  return found
}

/** Checks once every reader of a topic that was created again has been reset and has read everything. */
export async function violationsAfterReset(world: World): Promise<string[]> {
  const found: string[] = []
  countJournals(world, found)
  if (found.length === 0) await verifyStages(world, found)
  return found
}

async function verifyStages(world: World, found: string[]): Promise<void> {
  for (const stage of derivingOf(world.inputs)) {
    const { differences, first } = await verifyStage(stage, reading(world))
    if (first === undefined) continue
    found.push(
      `verify: ${stage.name}: ${differences} differences, the first ${first.kind} at ${first.where}: ${first.message}`,
    )
  }
}

/** Only unreadable records may be dead letters, once for each stage that reads them. */
function countDeadLetters(world: World, found: string[]): void {
  const letters = recordsOf(world, DEAD_LETTERS_TOPIC).map((record) => readJson<DeadLetter>(record))
  const places = letters.map(
    ({ processor, topic, partition, offset }) => `${processor} ${topic}/${partition}@${offset}`,
  )
  const garbage = recordsOf(world, completionsSampled.type).filter(({ key }) => key === 'garbage')
  const expected = garbage.flatMap(({ topic, partition, offset }) =>
    world.stages
      .filter((processor) => inputTopics(processor).includes(topic))
      .map(({ name }) => `${name} ${topic}/${partition}@${offset}`),
  )
  if (places.sort().join() === expected.sort().join()) return
  const errors = letters.map(({ error }) => error)
  found.push(`dead letters: expected [${expected.join(', ')}], got [${places.join(', ')}]: ${errors.join('; ')}`)
}

/** No output twice, except outputs of an event that a source has appended twice. */
function countOutputs(world: World, found: string[]): void {
  const times = new Map<string, number>()
  for (const record of EVENTS.flatMap(({ type }) => recordsOf(world, type))) {
    const id = headerOf(record, 'ce_id') ?? ''
    times.set(id, (times.get(id) ?? 0) + 1)
  }
  const types = new Set(world.stages.flatMap(({ outputs }) => outputs.map(({ type }) => type)))
  const counted = new Set<string>()
  for (const record of [...types].flatMap((type) => recordsOf(world, type))) {
    const id = headerOf(record, 'ce_id') ?? ''
    const source = headerOf(record, 'ce_source') ?? ''
    const count = times.get(id) ?? 0
    if (count === 1 || counted.has(id) || source === '/tests' || id === '') continue
    counted.add(id)
    const causes = (decodeEvent(record, vocabulary, world.column) as Event).causes
    const most = Math.max(...causes.map((cause) => times.get(cause) ?? 1))
    if (count > most) found.push(`${record.topic} ${id}: expected it ${most} times in the log, got ${count}`)
  }
}

/** Completions and their outcomes. Events with the same id count once. */
class Emitted {
  readonly sampled: readonly Event<typeof completionsSampled>[]
  readonly formed: readonly Event<typeof groupFormed>[]
  readonly expired: readonly Event<typeof groupExpired>[]
  readonly rejected: readonly Event<typeof completionRejected>[]

  constructor(world: World) {
    this.sampled = eventsOf(world, completionsSampled)
    this.formed = eventsOf(world, groupFormed)
    this.expired = eventsOf(world, groupExpired)
    this.rejected = eventsOf(world, completionRejected)
  }
}

function eventsOf<T extends EventType>(world: World, { type }: T): Event<T>[] {
  const byId = new Map<string, Event<T>>()
  for (const record of recordsOf(world, type)) {
    if (record.key === 'garbage') continue
    const event = decodeEvent(record, vocabulary, world.column) as Event<T>
    byId.set(event.id, event)
  }
  return [...byId.values()]
}

function checkFates(emitted: Emitted, found: string[]): void {
  const fates = new Map<string, string[]>()
  const note = (sampled_id: string, index: number, fate: string) => {
    const completion = `${sampled_id}/${index}`
    fates.set(completion, [...(fates.get(completion) ?? []), fate])
  }
  for (const { data } of emitted.formed) for (const row of data) note(row.sampled_id, row.completion_index, 'formed')
  for (const { data } of emitted.expired) {
    for (const held of data.held) note(held.sampled_id, held.completion_index, 'expired')
  }
  for (const { data } of emitted.rejected) note(data.sampled_id, data.completion_index, data.reason)
  for (const { id, data } of emitted.sampled) {
    for (const { completion_index } of data) {
      const completion = `${id}/${completion_index}`
      const came = fates.get(completion) ?? []
      fates.delete(completion)
      if (came.length !== 1) found.push(`completion ${completion}: expected one fate, got [${came.join(', ')}]`)
    }
  }
  for (const [completion, came] of fates)
    found.push(`completion ${completion}: was never sampled, yet [${came.join(', ')}]`)
}

function checkGroup(world: World, group: GroupPlan, emitted: Emitted, found: string[]): void {
  const { group_id, size, bound } = group
  const formed = emitted.formed.filter(({ key }) => key === group_id)
  const expired = emitted.expired.filter(({ key }) => key === group_id)
  const came = `${formed.length} formed, ${expired.length} expired`
  const expect = (right: boolean, what: string) => {
    if (!right) found.push(`group ${group_id} (${bound}): expected ${what}, got ${came}`)
  }
  if (bound === 'forms') expect(formed.length === 1 && expired.length === 0, 'it to form')
  if (bound === 'expires') expect(formed.length === 0 && expired.length === 1, 'it to expire')
  if (bound === 'turned away') expect(formed.length + expired.length === 0, 'neither')
  if (bound === 'either') expect(formed.length + expired.length === 1, 'one of both')
  if (bound === 'expires') {
    const missing = expired.flatMap(({ data }) => data.missing)
    if (missing.join() !== group.missing.join())
      found.push(`group ${group_id}: expected ${group.missing} to be missing, got ${missing}`)
  }
  for (const { data } of formed) {
    const indices = data.map((row) => row.completion_index).sort((a, b) => a - b)
    if (indices.join() !== Array.from({ length: size }, (_, index) => index).join())
      found.push(`group ${group_id}: expected all ${size} completions, got ${indices}`)
    if (new Set(data.map((row) => row.attempt_id)).size !== 1) found.push(`group ${group_id}: mixes attempts`)
    for (const row of data) {
      if (row.reward !== rewardOf(row.text))
        found.push(
          `group ${group_id}/${row.completion_index}: expected reward ${rewardOf(row.text)}, got ${row.reward}`,
        )
    }
  }
  if (world.inputs.has_policy) checkAnswers(world, group, found)
}

/** Each index must be answered at most once, and all of them if there was enough time. */
function checkAnswers(world: World, { group_id, size, bound }: GroupPlan, found: string[]): void {
  const indices: number[] = []
  for (const record of recordsOf(world, completionsSampled.type)) {
    if (record.key !== group_id || !isAnswer(record)) continue
    for (const row of (decodeEvent(record, vocabulary, world.column) as Event<typeof completionsSampled>).data)
      indices.push(row.completion_index)
  }
  const once = new Set(indices)
  if (once.size !== indices.length) found.push(`group ${group_id}: expected each place answered once, got ${indices}`)
  if (bound === 'forms' && once.size !== size) found.push(`group ${group_id}: expected ${size} answers, got ${indices}`)
}
