import type { LogRecord } from '../port/log.ts'
import { readChunk } from './read-chunk.ts'
import type { SalvagedCatalog, SalvagedTopic } from './salvaged-catalog.ts'
import type { SalvagedChunks } from './salvaged-chunks.ts'
import { chunkKey } from './tables.ts'
import type { TopicNames } from './topic-names.ts'

/** A catalog with the topics that none of its own copies names: by the copy of the names, else by their records. */
export function withLostNames(
  catalog: SalvagedCatalog,
  names: TopicNames | undefined,
  chunks: SalvagedChunks,
): SalvagedCatalog {
  const is_same_log = names !== undefined && (catalog.log_id === '' || catalog.log_id === names.log_id)
  const copied = is_same_log ? namesOf(names, catalog.topics) : []
  const known = [...catalog.topics, ...copied]
  const named = namedByRecords(known, chunks)
  const problems = [...catalog.problems]
  if (copied.length > 0) {
    problems.push(
      `no copy of the catalog has ${copied.map(({ name }) => name).join(', ')}: their names are from topics.json. ` +
        'Records that no whole page holds are lost without being counted',
    )
  }
  for (const { name, row } of named) {
    problems.push(`the name of topic number ${row.id} is lost: its events are of ${name}, and so it is called now`)
  }
  const log_id = catalog.log_id === '' && names !== undefined ? names.log_id : catalog.log_id
  return { ...catalog, log_id, problems, topics: [...known, ...named].sort((a, b) => a.row.id - b.row.id) }
}

function namesOf({ topics }: TopicNames, known: readonly SalvagedTopic[]): SalvagedTopic[] {
  const isKnown = (id: number, name: string) => known.some((topic) => topic.row.id === id || topic.name === name)
  return topics
    .filter(({ id, name }) => !isKnown(id, name))
    .map(({ id, name, partitions }) => lost(id, name, partitions))
}

/**
 * Topics by the type that their events have in their headers: a topic of events has its type as its name. Of several
 * numbers with one type, the highest is the topic that was there last.
 */
function namedByRecords(known: readonly SalvagedTopic[], chunks: SalvagedChunks): SalvagedTopic[] {
  const numbers = new Set(known.map(({ row }) => row.id))
  const names = new Set(known.map(({ name }) => name))
  const found = new Map<string, SalvagedTopic>()
  for (const [id, places] of Map.groupBy(chunks.firsts, ([place]) => Number(place.split('/')[0]))) {
    if (numbers.has(id)) continue
    const partitions = places.map(([place]) => Number(place.split('/')[1]))
    const name = typeOfEvents(id, places, chunks)
    if (name === undefined || names.has(name) || (found.get(name)?.row.id ?? -1) > id) continue
    found.set(name, lost(id, name, Math.max(...partitions.map((partition) => partition + 1), mostFrequentCount(known))))
  }
  return [...found.values()]
}

/** The type in the headers of a topic's records; undefined when they have none, or not all the same. */
function typeOfEvents(
  id: number,
  places: Iterable<readonly [place: string, firsts: readonly number[]]>,
  chunks: SalvagedChunks,
): string | undefined {
  const types = new Set<string | undefined>()
  for (const [place, firsts] of places) {
    const partition = Number(place.split('/')[1])
    for (const first of firsts) {
      const chunk = chunks.sound(chunkKey(id, partition, first))
      if (chunk === undefined) continue
      const records: LogRecord[] = []
      readChunk(chunk.bytes, { topic: '', partition, first }, first, { bytes: 0, at_least_one: true }, records)
      for (const { headers } of records) types.add(headers.find(({ name }) => name === 'ce_type')?.value)
      if (types.size > 1) return undefined
    }
  }
  return types.values().next().value
}

function lost(id: number, name: string, partitions: number): SalvagedTopic {
  const none = Array.from({ length: partitions }, () => 0)
  return { name, row: { id, begins: none, ends: none }, in_tree: false }
}

/** How many partitions most topics have: one whose name is lost may have had some without a record. */
function mostFrequentCount(topics: readonly SalvagedTopic[]): number {
  const counts = [...Map.groupBy(topics, ({ row }) => row.ends.length)]
  return counts.sort(([, one], [, other]) => other.length - one.length)[0]?.[0] ?? 1
}
