import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Damage, type LastRead, LogDamagedError, type LogRecord } from '../port/log.ts'
import { partitionName } from '../port/partition-name.ts'
import { lastRead } from '../port/seen.ts'
import { chunkCount } from './chunk.ts'
import { openLmdbLog } from './lmdb-log.ts'
import { withLostNames } from './lost-names.ts'
import { PageFile } from './page-file.ts'
import { readChunk } from './read-chunk.ts'
import { type Salvage, salvage } from './salvage.ts'
import {
  catalogOf,
  positionProblem,
  type SalvagedCatalog,
  type SalvagedPosition,
  type SalvagedTopic,
} from './salvaged-catalog.ts'
import { SalvagedChunks } from './salvaged-chunks.ts'
import {
  checkFormat,
  chunkKey,
  closeTables,
  type LostRange,
  openTables,
  type Tables,
  type TopicRow,
  topicId,
} from './tables.ts'
import { readTopicNames } from './topic-names.ts'

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
  /** Whether records at its end may be lost without being counted, because its current entry in the catalog is. */
  readonly may_lack_end: boolean
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
    const chunks = new SalvagedChunks(file, found.chunks)
    const own = catalogOf(found.catalog)
    const catalog = withLostNames(own, readTopicNames(from), chunks)
    if (catalog.format !== undefined) checkFormat(from, catalog.format)
    const has_something = own.topics.length > 0 || chunks.firsts.size > 0
    if (!has_something || catalog.topics.length === 0) throw nothingLeft(from, found.problems[0] ?? 'it has no topics')
    // Creates the folder, and the files that a log folder has in addition to its tables.
    await (await openLmdbLog({ dir: to })).close()
    const tables = openTables(to, false, 'flushed')
    try {
      return new Repair({ found, chunks, catalog, tables, resumes }).run()
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

interface RepairParts {
  readonly found: Salvage
  readonly chunks: SalvagedChunks
  readonly catalog: SalvagedCatalog
  readonly tables: Tables
  readonly resumes: RepairOptions['resumes']
}

class Repair {
  readonly #found: Salvage
  readonly #chunks: SalvagedChunks
  readonly #catalog: SalvagedCatalog
  readonly #tables: Tables
  readonly #resumes: RepairOptions['resumes']
  readonly #lost: Damage[] = []
  readonly #problems: string[]
  readonly #unchecked: string[] = []
  readonly #ends = new Map<string, readonly number[]>()
  /** Last-read records named by positions, by topic and partition, then by offset; undefined until found. */
  readonly #wanted = new Map<string, Map<number, LastRead | undefined>>()
  #pending: [key: Buffer, bytes: Buffer][] = []

  constructor({ found, chunks, catalog, tables, resumes }: RepairParts) {
    this.#found = found
    this.#chunks = chunks
    this.#catalog = catalog
    this.#tables = tables
    this.#resumes = resumes
    this.#problems = [...found.problems, ...catalog.problems]
    for (const { position } of catalog.positions) {
      const { last } = position.seen ?? {}
      if (last === undefined) continue
      const place = partitionName(position)
      const wanted = this.#wanted.get(place) ?? new Map<number, LastRead | undefined>()
      this.#wanted.set(place, wanted.set(Number(last.offset), undefined))
    }
  }

  run(): Repaired {
    const topics = this.#catalog.topics.map((topic) => this.#topic(topic))
    this.#flush()
    const nameless = this.#tellNameless()
    const positions = this.#putCatalog()
    const problems = this.#problems
    return { topics, positions, unchecked: this.#unchecked, lost: this.#lost, nameless, problems }
  }

  #topic({ name, row, in_tree }: SalvagedTopic): RepairedTopic {
    const sum = { records: 0, unchecksummed: 0, found: 0 }
    const ends = row.ends.map((_, partition) => this.#partition({ name, row, in_tree }, partition, sum))
    this.#ends.set(name, ends)
    return { name, ...sum, may_lack_end: this.#found.is_incomplete && !in_tree }
  }

  /** @returns where it ends */
  #partition(
    { name, row, in_tree }: SalvagedTopic,
    partition: number,
    sum: { records: number; unchecksummed: number; found: number },
  ): number {
    const [begin, end] = [row.begins[partition] as number, row.ends[partition] as number]
    const firsts = (this.#chunks.firsts.get(`${row.id}/${partition}`) ?? []).sort((a, b) => a - b)
    const bound = this.#treeAfter(row.id, partition, firsts)
    const lost: LostRange[] = []
    let next = begin
    for (const [i, first] of firsts.entries()) {
      // A chunk beyond the end and in no tree was never committed.
      if (in_tree && first >= end && !this.#chunks.isInTree(chunkKey(row.id, partition, first))) continue
      const chunk = this.#chunks.sound(chunkKey(row.id, partition, first), bound[i] as number)
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
      if (this.#chunks.isInTree(chunkKey(id, partition, firsts[i] as number))) bound = firsts[i] as number
    }
    return bounds
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
    for (const [place, firsts] of this.#chunks.firsts) {
      if (known.has(place)) continue
      const [id = 0, partition = 0] = place.split('/').map(Number)
      for (const first of firsts) {
        const chunk = this.#chunks.sound(chunkKey(id, partition, first))
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
