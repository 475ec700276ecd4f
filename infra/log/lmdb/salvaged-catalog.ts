import type { Position } from '../port/log.ts'
import { decodeSeen } from '../port/seen.ts'
import type { CatalogCopy } from './salvage.ts'
import { isTopicRow, type PositionRow, positionAt, type TopicRow, topicId } from './tables.ts'

export interface SalvagedTopic {
  readonly name: string
  readonly row: TopicRow
  /** False: from an older state of the catalog, in which the ends may be lower. */
  readonly in_tree: boolean
}

export interface SalvagedPosition {
  readonly group: string
  readonly position: Position
  readonly row: PositionRow
  readonly in_tree: boolean
}

/** The content of a catalog. It has no checksum: entries are compared with their older copies and with each other. */
export interface SalvagedCatalog {
  readonly format: number | undefined
  readonly log_id: string
  readonly topics: readonly SalvagedTopic[]
  readonly producers: ReadonlyMap<string, number>
  readonly positions: readonly SalvagedPosition[]
  /** Entries that could not be used as they were, and what was used instead. */
  readonly problems: readonly string[]
}

export function catalogOf(copies: readonly CatalogCopy[]): SalvagedCatalog {
  const problems: string[] = []
  const all = copies.toSorted((a, b) => Number(b.in_tree) - Number(a.in_tree) || b.transaction - a.transaction)
  const of = (kind: string, parts: number) => all.filter(({ key }) => key[0] === kind && key.length === parts)
  const log_id = mostFrequent(of('log_id', 1).flatMap(({ value }) => (typeof value === 'string' ? [value] : [])))
  if (log_id !== undefined && of('log_id', 1)[0]?.value !== log_id) problems.push('the id of the log: an older copy')
  const topics = topicsOf(of('topic', 2), problems)
  const producers = new Map<string, number>()
  for (const { key, value } of of('producer', 2)) {
    const epoch = Number.isSafeInteger(value) && Number(value) > 0 ? Number(value) : 0
    producers.set(String(key[1]), Math.max(epoch, producers.get(String(key[1])) ?? 0))
  }
  const format = of('format', 1).find(({ value }) => typeof value === 'number')?.value as number | undefined
  return {
    format,
    log_id: log_id ?? '',
    topics,
    producers,
    positions: positionsOf(of('position', 4), problems),
    problems,
  }
}

/** Why a position does not fit this log; undefined if it fits, as far as the catalog shows. */
export function positionProblem(
  { next, seen }: Position,
  topic: SalvagedTopic | undefined,
  { log_id, end, ids }: { readonly log_id: string; readonly end: number; readonly ids: ReadonlySet<string> },
): string | undefined {
  if (topic === undefined) return 'of a topic that is not there'
  if (next < 0n || next > BigInt(end)) return `at ${next}, and the partition ends at ${end}`
  if (seen === undefined) return undefined
  if (seen.topic_id !== '' && seen.topic_id !== topicId(log_id, topic.row)) return 'of another topic of that name'
  if (seen.state_in !== undefined && !ids.has(seen.state_in)) return 'with a state in a topic that is not there'
  if (seen.last !== undefined && seen.last.offset !== next - 1n)
    return `at ${next}, and the last record read is ${seen.last.offset}`
  return undefined
}

/** Each topic name has one number in all copies of the catalog; where copies disagree, the majority wins. */
function topicsOf(copies: readonly CatalogCopy[], problems: string[]): SalvagedTopic[] {
  const pairs = new Map<string, { name: string; id: number; votes: number; newest: CatalogCopy }>()
  for (const copy of copies) {
    const name = String(copy.key[1])
    if (!isTopicRow(copy.value)) {
      if (copy.in_tree) problems.push(`topic ${name}: its entry is ${shown(copy.value)}`)
      continue
    }
    const at = `${copy.value.id} ${name}`
    const pair = pairs.get(at)
    if (pair === undefined) pairs.set(at, { name, id: copy.value.id, votes: 1, newest: copy })
    else pair.votes += 1
  }
  const topics: SalvagedTopic[] = []
  for (const { name, id, newest } of [...pairs.values()].sort((a, b) => b.votes - a.votes)) {
    const other = topics.find((topic) => topic.name === name || topic.row.id === id)
    if (other !== undefined) {
      problems.push(
        `topic ${name} with number ${id}: most copies of the catalog call it ${other.name}, ${other.row.id}`,
      )
      continue
    }
    topics.push({ name, row: newest.value as TopicRow, in_tree: newest.in_tree })
  }
  const older = topics.filter(({ in_tree }) => !in_tree).map(({ name }) => name)
  if (older.length > 0) {
    problems.push(
      `of the ends of ${older.join(', ')} an older copy was used: records that were written after it, and that no whole ` +
        'page holds, are lost without being counted',
    )
  }
  return topics.sort((a, b) => a.row.id - b.row.id)
}

function positionsOf(copies: readonly CatalogCopy[], problems: string[]): SalvagedPosition[] {
  const found = new Map<string, SalvagedPosition>()
  for (const { key, value, in_tree } of copies) {
    const [, group, topic, partition] = key
    const at = JSON.stringify(key)
    if (found.has(at)) continue
    const is_row = Number.isSafeInteger(value) || isBound(value)
    if (is_row && typeof partition === 'number' && Number.isSafeInteger(partition)) {
      const row = value as PositionRow
      found.set(at, {
        group: String(group),
        position: positionAt(String(topic), partition, row),
        row,
        in_tree,
      })
    } else if (in_tree)
      problems.push(`the position of ${group} in ${topic} partition ${partition}: it is ${shown(value)}`)
  }
  return [...found.values()]
}

const isBound = (value: unknown) =>
  Array.isArray(value) &&
  value.length === 2 &&
  Number.isSafeInteger(value[0]) &&
  typeof value[1] === 'string' &&
  decodeSeen(value[1]) !== undefined

const shown = (value: unknown) => (JSON.stringify(value) ?? 'no JSON').slice(0, 80)

/** The first one if several are equally frequent. */
function mostFrequent(values: readonly string[]): string | undefined {
  const counts = new Map<string, number>()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  return [...counts].sort(([, a], [, b]) => b - a)[0]?.[0]
}
