import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Damage, type LastRead, LogDamagedError, type LogRecord } from '../port/log.ts'
import { partitionName } from '../port/partition-name.ts'
import { lastRead } from '../port/seen.ts'
import { checkChunk } from './checksum.ts'
import { chunkCount } from './chunk.ts'
import { openLmdbLog } from './lmdb-log.ts'
import { PageFile } from './page-file.ts'
import { readChunk } from './read-chunk.ts'
import { bytesAt, type Copy, type Salvage, salvage } from './salvage.ts'
import {
  catalogOf,
  positionProblem,
  type SalvagedCatalog,
  type SalvagedPosition,
  type SalvagedTopic,
} from './salvaged-catalog.ts'
import {
  checkFormat,
  chunkKey,
  closeTables,
  type LostRange,
  offsetOf,
  openTables,
  type Tables,
  type TopicRow,
  topicId,
} from './tables.ts'

export interface RepairOptions {
  readonly from: string
  /** Must be empty or missing. */
  readonly to: string
  /** Whether a group can find its place in the log itself. If so, a position that may be wrong is left out. */
  readonly resumes: (group: string, topics: ReadonlySet<string>) => boolean
}

export interface Repaired {
  readonly topics: readonly RepairedTopic[]
  readonly positions: number
  /** Positions that were copied unchanged, because the log cannot show whether they are right. */
  readonly unchecked: readonly string[]
  /** Offsets that are not in the new folder; readers skip them, and `verify` lists them. */
  readonly lost: readonly Damage[]
  /** Number of records left out because no copy of the catalog names their topic. */
  readonly nameless: number
  /** Other damage, and what was done about it. */
  readonly problems: readonly string[]
}

export interface RepairedTopic {
  readonly name: string
  readonly records: number
  /** Those of `records` without a checksum: written by an earlier release. */
  readonly unchecksummed: number
  /** Those of `records` that the damaged trees no longer contain: found by scanning every page. */
  readonly found: number
}

/**
 * Copies the intact part of a damaged log folder into a new one, with its offsets, topic numbers, id and positions.
 * LMDB never opens the damaged file: its pages are read one by one. A chunk with a valid checksum is copied from
 * anywhere in the file; one without a checksum only if the trees contain it.
 *
 * @throws LogDamagedError when nothing can be read.
 */
export async function repairLog({ from, to, resumes }: RepairOptions): Promise<Repaired> {
  const path = join(from, 'data.mdb')
  if (!existsSync(path) || statSync(path).size === 0) throw nothingLeft(from, `${path} is empty or not there`)
  if (existsSync(to) && readdirSync(to).length > 0) throw new Error(`lmdb:${to}: expected an empty folder, or none`)
  const file = new PageFile(path)
  try {
    const found = salvage(file)
    const catalog = catalogOf(found.catalog)
    if (catalog.format !== undefined) checkFormat(from, catalog.format)
    if (catalog.topics.length === 0) throw nothingLeft(from, found.problems[0] ?? 'it has no topics')
    // Creates the folder, and the files that a log folder has in addition to its tables.
    await (await openLmdbLog({ dir: to })).close()
    const tables = openTables(to, false, 'flushed')
    try {
      return new Repair(file, found, catalog, tables, resumes).run()
    } finally {
      await closeTables(tables)
    }
  } finally {
    file.close()
  }
}

function nothingLeft(dir: string, problem: string): LogDamagedError {
  return new LogDamagedError(
    `lmdb:${dir}: expected a log of which some is whole, found none: ${problem}. Nothing was changed.`,
    'put a backup in its place, or start again: with a new folder, generate or replay',
  )
}

const CHUNKS_AT_ONCE = 256

class Repair {
  readonly #file: PageFile
  readonly #found: Salvage
  #catalog: SalvagedCatalog
  readonly #tables: Tables
  readonly #resumes: RepairOptions['resumes']
  /** First offsets by topic number and partition. */
  readonly #firsts = new Map<string, number[]>()
  readonly #lost: Damage[] = []
  readonly #problems: string[]
  readonly #unchecked: string[] = []
  readonly #ends = new Map<string, readonly number[]>()
  /** Last-read records named by positions, by topic and partition, then by offset; undefined until found. */
  readonly #wanted = new Map<string, Map<number, LastRead | undefined>>()
  #pending: [key: Buffer, bytes: Buffer][] = []

  constructor(
    file: PageFile,
    found: Salvage,
    catalog: SalvagedCatalog,
    tables: Tables,
    resumes: RepairOptions['resumes'],
  ) {
    this.#file = file
    this.#found = found
    this.#catalog = catalog
    this.#tables = tables
    this.#resumes = resumes
    this.#problems = [...found.problems, ...catalog.problems]
    for (const hex of found.chunks.keys()) {
      const key = Buffer.from(hex, 'hex')
      const place = `${key.readUInt32BE(0)}/${key.readUInt32BE(4)}`
      const firsts = this.#firsts.get(place)
      if (firsts === undefined) this.#firsts.set(place, [offsetOf(key)])
      else firsts.push(offsetOf(key))
    }
    for (const { position } of catalog.positions) {
      const { last } = position.seen ?? {}
      if (last === undefined) continue
      const place = partitionName(position)
      const wanted = this.#wanted.get(place) ?? new Map<number, LastRead | undefined>()
      this.#wanted.set(place, wanted.set(Number(last.offset), undefined))
    }
  }

  run(): Repaired {
    this.#catalog = { ...this.#catalog, topics: [...this.#catalog.topics, ...this.#namedByRecords()] }
    const topics = this.#catalog.topics.map((topic) => this.#topic(topic))
    this.#flush()
    const nameless = this.#tellNameless()
    const positions = this.#putCatalog()
    const problems = this.#problems
    return { topics, positions, unchecked: this.#unchecked, lost: this.#lost, nameless, problems }
  }

  /**
   * Topics that no copy of the catalog names, by the type that their events have in their headers: a topic of events has
   * its type as its name. Of several numbers with one type, the highest is the topic that was there last.
   */
  #namedByRecords(): SalvagedTopic[] {
    const { topics } = this.#catalog
    const numbers = new Set(topics.map(({ row }) => row.id))
    const names = new Set(topics.map(({ name }) => name))
    const found = new Map<string, SalvagedTopic>()
    for (const [id, places] of Map.groupBy(this.#firsts, ([place]) => Number(place.split('/')[0]))) {
      if (numbers.has(id)) continue
      const partitions = places.map(([place]) => Number(place.split('/')[1]))
      const name = this.#typeOfEvents(id, places)
      if (name === undefined || names.has(name) || (found.get(name)?.row.id ?? -1) > id) continue
      const count = Math.max(...partitions.map((partition) => partition + 1), mostFrequentCount(topics))
      const none = Array.from({ length: count }, () => 0)
      found.set(name, { name, row: { id, begins: none, ends: none }, in_tree: false })
    }
    for (const [name, { row }] of found) {
      this.#problems.push(
        `the name of topic number ${row.id} is lost: its events are of ${name}, and so it is called now`,
      )
    }
    return [...found.values()]
  }

  /** The type in the headers of a topic's records; undefined when they have none, or not all the same. */
  #typeOfEvents(id: number, places: Iterable<readonly [place: string, firsts: readonly number[]]>): string | undefined {
    const types = new Set<string | undefined>()
    for (const [place, firsts] of places) {
      const partition = Number(place.split('/')[1])
      for (const first of firsts) {
        const chunk = this.#soundChunk(chunkKey(id, partition, first), Number.MAX_SAFE_INTEGER)
        if (chunk === undefined) continue
        const records: LogRecord[] = []
        readChunk(chunk.bytes, { topic: '', partition, first }, first, { bytes: 0, at_least_one: true }, records)
        for (const { headers } of records) types.add(headers.find(({ name }) => name === 'ce_type')?.value)
        if (types.size > 1) return undefined
      }
    }
    return types.values().next().value
  }

  #topic({ name, row, in_tree }: SalvagedTopic): RepairedTopic {
    const sum = { records: 0, unchecksummed: 0, found: 0 }
    const ends = row.ends.map((_, partition) => this.#partition({ name, row, in_tree }, partition, sum))
    this.#ends.set(name, ends)
    return { name, ...sum }
  }

  /** @returns where it ends */
  #partition(
    { name, row, in_tree }: SalvagedTopic,
    partition: number,
    sum: { records: number; unchecksummed: number; found: number },
  ): number {
    const [begin, end] = [row.begins[partition] as number, row.ends[partition] as number]
    const firsts = (this.#firsts.get(`${row.id}/${partition}`) ?? []).sort((a, b) => a - b)
    const bound = this.#treeAfter(row.id, partition, firsts)
    const lost: LostRange[] = []
    let next = begin
    for (const [i, first] of firsts.entries()) {
      // A chunk beyond the end and in no tree was never committed.
      if (in_tree && first >= end && !this.#inTree(chunkKey(row.id, partition, first))) continue
      const chunk = this.#soundChunk(chunkKey(row.id, partition, first), bound[i] as number)
      if (chunk === undefined) continue
      const to = first + chunkCount(chunk.bytes)
      if (to <= begin) {
        if (chunk.copy.in_tree)
          this.#problems.push(
            `${name} partition ${partition} begins at ${begin}, and there are intact records before it`,
          )
        continue
      }
      if (to <= next || (first < next && next > begin)) continue
      if (first > next) lost.push([next, first])
      this.#put(chunkKey(row.id, partition, first), chunk.bytes)
      this.#look(chunk.bytes, { topic: name, partition, first })
      const records = to - Math.max(first, begin)
      sum.records += records
      if (!chunk.has_checksum) sum.unchecksummed += records
      if (!chunk.copy.in_tree) sum.found += records
      next = to
    }
    if (next < end) lost.push([next, end])
    else if (next > end && in_tree)
      this.#problems.push(
        `${name} partition ${partition} ends at ${end}, and there are intact records after it: they were copied`,
      )
    if (lost.length > 0) {
      this.#tables.env.transactionSync(() => this.#tables.catalog.putSync(['lost', name, partition], lost))
    }
    for (const [from, to] of lost) {
      const problem = 'no whole copy of them was found'
      this.#lost.push({ topic: name, partition, from: BigInt(from), to: BigInt(to), problem })
    }
    return Math.max(next, end)
  }

  /** For each chunk, the first offset of the next chunk in the trees: no chunk may reach beyond it. */
  #treeAfter(id: number, partition: number, firsts: readonly number[]): number[] {
    const bounds: number[] = []
    let bound = Number.MAX_SAFE_INTEGER
    for (let i = firsts.length - 1; i >= 0; i -= 1) {
      bounds[i] = bound
      if (this.#inTree(chunkKey(id, partition, firsts[i] as number))) bound = firsts[i] as number
    }
    return bounds
  }

  #inTree(key: Buffer): boolean {
    return this.#found.chunks.get(key.toString('hex'))?.[0]?.in_tree === true
  }

  #soundChunk(
    key: Buffer,
    bound: number,
  ): { readonly bytes: Buffer; readonly copy: Copy; readonly has_checksum: boolean } | undefined {
    for (const copy of this.#found.chunks.get(key.toString('hex')) ?? []) {
      const bytes = bytesAt(this.#file, copy)
      const soundness = bytes === undefined ? 'damaged' : checkChunk(bytes, key)
      if (bytes === undefined || soundness === 'damaged' || (soundness === 'unchecksummed' && !copy.in_tree)) continue
      const to = offsetOf(key) + chunkCount(bytes)
      if (chunkCount(bytes) === 0 || to > bound || !canBeRead(bytes)) continue
      return { bytes, copy, has_checksum: soundness === 'sound' }
    }
    return undefined
  }

  /** Stores the records of this chunk that positions name as last read. */
  #look(bytes: Buffer, place: { readonly topic: string; readonly partition: number; readonly first: number }): void {
    const { topic, partition, first } = place
    const wanted = this.#wanted.get(partitionName({ topic, partition }))
    for (const offset of wanted?.keys() ?? []) {
      if (offset < first || offset >= first + chunkCount(bytes)) continue
      const records: LogRecord[] = []
      readChunk(bytes, place, offset, { bytes: 0, at_least_one: true }, records)
      const [record] = records
      if (record !== undefined) wanted?.set(offset, lastRead(record))
    }
  }

  #put(key: Buffer, bytes: Buffer): void {
    this.#pending.push([key, bytes])
    if (this.#pending.length >= CHUNKS_AT_ONCE) this.#flush()
  }

  #flush(): void {
    const { env, chunks } = this.#tables
    env.transactionSync(() => {
      for (const [key, bytes] of this.#pending) chunks.putSync(key, bytes)
    })
    this.#pending = []
  }

  /** Reports the records whose topic no copy of the catalog names. @returns how many */
  #tellNameless(): number {
    const known = new Set(this.#catalog.topics.flatMap(({ row }) => row.ends.map((_, p) => `${row.id}/${p}`)))
    const records = new Map<number, number>()
    for (const [place, firsts] of this.#firsts) {
      if (known.has(place)) continue
      const [id = 0, partition = 0] = place.split('/').map(Number)
      for (const first of firsts) {
        const chunk = this.#soundChunk(chunkKey(id, partition, first), Number.MAX_SAFE_INTEGER)
        if (chunk !== undefined) records.set(id, (records.get(id) ?? 0) + chunkCount(chunk.bytes))
      }
    }
    for (const [id, count] of records)
      this.#problems.push(`${count} records of topic number ${id}, whose name is lost, were not copied`)
    return [...records.values()].reduce((sum, count) => sum + count, 0)
  }

  /** @returns how many positions were written */
  #putCatalog(): number {
    const { log_id, topics, producers } = this.#catalog
    const { env, catalog } = this.#tables
    const positions = this.#soundPositions()
    env.transactionSync(() => {
      if (log_id !== '') catalog.putSync(['log_id'], log_id)
      catalog.putSync(['topics'], Math.max(...topics.map(({ row }) => row.id)))
      for (const { name, row } of topics) {
        const ends = this.#ends.get(name) as readonly number[]
        catalog.putSync(['topic', name], { id: row.id, begins: row.begins, ends } satisfies TopicRow)
      }
      for (const [id, epoch] of producers) catalog.putSync(['producer', id], epoch)
      for (const { group, position, row } of positions) {
        catalog.putSync(['position', group, position.topic, position.partition], row)
      }
    })
    return positions.length
  }

  #soundPositions(): readonly SalvagedPosition[] {
    const { log_id, topics, positions } = this.#catalog
    const names = new Set(topics.map(({ name }) => name))
    const ids = new Set(topics.map(({ row }) => topicId(log_id, row)))
    const dropped = new Map<string, string[]>()
    const sound = positions.filter(({ group, position, in_tree }) => {
      const { topic: name, partition, seen } = position
      // A source's position counts steps, a replay's is an offset of another log: this log cannot check either.
      if (!this.#resumes(group, names)) {
        this.#unchecked.push(
          `${group} in ${name} partition ${partition} at ${position.next}${in_tree ? '' : ' (older)'}`,
        )
        return true
      }
      const topic = topics.find((topic) => topic.name === name)
      const end = this.#ends.get(name)?.[partition] ?? -1
      const problem =
        positionProblem(position, topic, { log_id, end, ids }) ??
        (in_tree ? undefined : 'only an older copy of it was found') ??
        this.#otherRecord(`${name}/${partition}`, seen?.last)
      if (problem === undefined && seen?.last === undefined && position.next > 0n)
        this.#unchecked.push(`${group} in ${name} partition ${partition} at ${position.next}`)
      if (problem === undefined) return true
      const at = `${name} partition ${partition}: ${problem}`
      dropped.set(group, [...(dropped.get(group) ?? []), at])
      return false
    })
    for (const [group, [first, ...more]] of dropped) {
      const others = more.length === 0 ? '' : `, and ${more.length} more`
      this.#problems.push(`the position of ${group} in ${first}${others}; its journal tells where it resumes`)
    }
    return sound
  }

  #otherRecord(place: string, last: LastRead | undefined): string | undefined {
    const found = last === undefined ? undefined : this.#wanted.get(place)?.get(Number(last.offset))
    if (last === undefined || found === undefined) return undefined
    const same = found.digest === last.digest && found.appended_ms === last.appended_ms
    return same ? undefined : `record ${last.offset} is not the one that was read`
  }
}

/** How many partitions most topics have: one whose name is lost may have had some without a record. */
function mostFrequentCount(topics: readonly SalvagedTopic[]): number {
  const counts = [...Map.groupBy(topics, ({ row }) => row.ends.length)]
  return counts.sort(([, one], [, other]) => other.length - one.length)[0]?.[0] ?? 1
}

/** Lengths inside the records of a chunk without a checksum may contradict each other. */
function canBeRead(bytes: Buffer): boolean {
  try {
    readChunk(bytes, { topic: '', partition: 0, first: 0 }, 0, { bytes: Infinity, at_least_one: true }, [])
    return true
  } catch {
    return false
  }
}
