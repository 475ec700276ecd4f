import type { LogRecord, ReadResult } from '../../infra/log/port/log.ts'
import { RecordDamagedError } from '../../infra/log/port/log.ts'
import { DEAD_LETTERS_TOPIC } from '../../infra/runtime/internal/internal-topics.ts'
import type { RerunOptions } from '../../infra/runtime/state/rerun.ts'
import { type Difference, Findings } from '../../infra/verify/difference.ts'
import { damagedPlace, placeOf } from '../../infra/verify/places.ts'
import type { EventType } from '../../schemas/declare/event.ts'
import { shown } from '../../schemas/declare/event-errors.ts'
import { literal } from '../../schemas/derive/sql-quoting.ts'
import { type ComparedTable, deadLetterTable, eventTable, type Unreadable, whyNotCompared } from './compared-table.ts'
import { type KeptView, keptOf } from './kept-rows.ts'
import { isSameValue } from './plain-values.ts'
import type { SqlSession } from './sql-client.ts'
import { SqlFailedError } from './sql-errors.ts'
import type { Plain, SqlColumn } from './sql-result.ts'
import { areViewsOfNow } from './user-views.ts'
import { differingRows, groupsOf, stepsOf } from './verify-kept.ts'
import type { View } from './views/view.ts'

export interface TablesReport {
  /** Rows of tables that are equal to what the log holds. */
  readonly rows: number
  /** Groups whose rows in a view that stores rows, `rewards`, match the events. */
  readonly groups: number
  /** Upper bound of the records that are not loaded yet: gaps between offsets count. */
  readonly not_loaded: number
  /** Records that cannot be read, and that the tables list as unreadable. */
  readonly unreadable: number
  /** What was not compared, and why. */
  readonly left_out: readonly string[]
  readonly differences: number
  readonly found: readonly Difference[]
}

interface TablesOptions extends RerunOptions {
  readonly session: SqlSession
  readonly events: readonly EventType[]
  readonly views: readonly View[]
  readonly onProgress?: (rows: number) => void
}

/** Encoded bytes of the log that are in memory at a time, together with their rows. */
const CHUNK_BYTES = 4 * 1024 * 1024
const IDS_AT_ONCE = 4096

/**
 * Compares the tables with the log, in both directions, as far as they are loaded: each event has its rows, each row
 * its event, and every column the value of the event. An event that is in the log twice is in the tables once. Then
 * compares each view that stores rows with the tables of the events.
 */
export async function verifyTables(options: TablesOptions): Promise<TablesReport> {
  try {
    return await new TablesComparison(options).run()
  } catch (error) {
    if (error instanceof SqlFailedError) return unreadableTables('the tables', error.message)
    throw error
  }
}

/** The report for tables that cannot be opened or read. */
export function unreadableTables(file: string, why: string): TablesReport {
  const findings = new Findings('tables')
  findings.add('table', file, why)
  const none = { rows: 0, groups: 0, not_loaded: 0, unreadable: 0, left_out: [] }
  return { ...none, differences: findings.count, found: findings.named }
}

interface Answer {
  readonly columns: readonly SqlColumn[]
  readonly rows: readonly Plain[][]
}

interface Range {
  readonly table: ComparedTable
  readonly partition: number
  readonly from: bigint
  readonly until: bigint
}

class TablesComparison {
  readonly #options: TablesOptions
  readonly #findings = new Findings('tables')
  readonly #left_out: string[] = []
  /**
   * Records of one table without rows at their offset, by id. The rows are at another record of the same id, or
   * missing.
   */
  readonly #elsewhere = new Map<string, string>()
  #rows = 0
  #groups = 0
  #not_loaded = 0
  #unreadable = 0

  constructor(options: TablesOptions) {
    this.#options = options
  }

  async run(): Promise<TablesReport> {
    const meta = (await this.#ask('SELECT name, value FROM internal.meta')).rows
    const made = new Map(meta.map(([name, value]) => [String(name), String(value)]))
    for (const type of this.#options.events) {
      const why = whyNotCompared(type, made)
      if (why === undefined) await this.#unlessItFails(type.type, this.#table(eventTable(type, this.#options)))
      else this.#left_out.push(`table ${type.type}: ${why}`)
    }
    const { length: partitions } = await this.#options.log.endOffsets(DEAD_LETTERS_TOPIC)
    await this.#unlessItFails(DEAD_LETTERS_TOPIC, this.#table(deadLetterTable(partitions)))
    const { views } = this.#options
    const are_now = areViewsOfNow(made, views)
    for (const view of keptOf(views)) {
      const what = `the view ${view.name}`
      if (are_now) await this.#unlessItFails(what, this.#rowsOf(view))
      else this.#left_out.push(`${what}: it is of another release; the next run rebuilds it`)
    }
    const counts = {
      rows: this.#rows,
      groups: this.#groups,
      not_loaded: this.#not_loaded,
      unreadable: this.#unreadable,
    }
    return { ...counts, left_out: this.#left_out, differences: this.#findings.count, found: this.#findings.named }
  }

  async #ask(sql: string): Promise<Answer> {
    const { columns, batches } = await this.#options.session.query(sql)
    const rows: Plain[][] = []
    for await (const batch of batches) rows.push(...batch)
    return { columns, rows }
  }

  /** A table that is missing or of another form is a difference; the comparison continues. */
  async #unlessItFails(what: string, asked: Promise<void>): Promise<void> {
    try {
      await asked
    } catch (error) {
      if (!(error instanceof SqlFailedError)) throw error
      this.#differs(what, `it cannot be read: ${error.message}`)
    }
  }

  async #table(table: ComparedTable): Promise<void> {
    const { log } = this.#options
    const { topic, name } = table
    this.#elsewhere.clear() // left by a table that could not be read to its end
    const { columns } = await this.#ask(`FROM ${name} LIMIT 0`)
    const missing = table.columns.filter((column) => columns.every(({ name }) => name !== column))
    if (missing.length > 0) return this.#differs(topic, `${name} has no column ${missing.join(', ')}`)

    const loaded = await this.#positions(topic)
    const begins = await log.beginningOffsets(topic)
    const ends = await log.endOffsets(topic)
    for (const [partition, end] of ends.entries()) {
      const begin = begins[partition] ?? 0n
      const next = loaded.get(partition) ?? 0n
      if (end > next) this.#not_loaded += Number(end - next)
      if (next > end)
        this.#differs(`${topic} partition ${partition}`, `loaded up to offset ${next}, and the log ends at ${end}`)
      for (let from = begin; from < next; ) from = await this.#range({ table, partition, from, until: next })
      await this.#older(table, partition, begin)
    }
    await this.#lookElsewhere(table)
    for (const partition of loaded.keys())
      if (partition >= ends.length)
        this.#differs(`${topic} partition ${partition}`, `the tables were loaded from it, the log has ${ends.length}`)
    await this.#beyond(topic, name, 'rows.log_partition', 'rows.log_offset')
    const listed = `(FROM internal.unreadable WHERE topic = ${literal(topic)})`
    await this.#beyond(topic, listed, 'rows."partition"', 'rows."offset"')
  }

  async #positions(topic: string): Promise<ReadonlyMap<number, bigint>> {
    const { rows } = await this.#ask(`SELECT "partition", next FROM internal.positions WHERE topic = ${literal(topic)}`)
    return new Map(rows.map(([partition, next]) => [partition as number, BigInt(next as string)]))
  }

  /** Rows whose records retention has removed. */
  async #older({ topic, name }: ComparedTable, partition: number, begin: bigint): Promise<void> {
    if (begin === 0n) return
    const where = `log_partition = ${partition} AND log_offset < ${begin}`
    const [[rows] = [0]] = (await this.#ask(`SELECT count(*)::INTEGER FROM ${name} WHERE ${where}`)).rows
    if (rows !== 0)
      this.#left_out.push(`${rows} rows of ${topic} partition ${partition}: retention removed their records`)
  }

  /** Rows at offsets that were not loaded; in one statement, since a loader may be running. */
  async #beyond(topic: string, rows: string, partition: string, offset: string): Promise<void> {
    const found = await this.#ask(`
      SELECT ${partition}, ${offset}, count(*) OVER ()
      FROM ${rows} AS rows
      LEFT JOIN internal.positions AS read ON read.topic = ${literal(topic)} AND read."partition" = ${partition}
      WHERE ${offset} >= coalesce(read.next, 0)
      ORDER BY ALL LIMIT 1`)
    for (const [at, from, count] of found.rows)
      this.#differs(
        `${topic} partition ${at} offset ${from}`,
        `${count} rows of ${rows} are of offsets that they were not loaded from`,
      )
  }

  /** @returns where to resume */
  async #range({ table, partition, from, until }: Range): Promise<bigint> {
    const { topic, name, order } = table
    let chunk: ReadResult
    try {
      chunk = await this.#options.log.read({ topic, partition, from, max_bytes: CHUNK_BYTES })
    } catch (error) {
      if (!(error instanceof RecordDamagedError)) throw error
      this.#left_out.push(`rows of ${damagedPlace(error.damage)}: the log is damaged there`)
      return error.damage.to > from ? error.damage.to : from + 1n
    }
    const to = chunk.next <= from || chunk.next > until ? until : chunk.next
    const where = `log_partition = ${partition} AND log_offset >= ${from} AND log_offset < ${to}`
    const found = await this.#ask(`FROM ${name} WHERE ${where} ORDER BY log_offset, ${order}`)
    const at = found.columns.findIndex(({ name }) => name === 'log_offset')
    const rows = Map.groupBy(found.rows, (row) => BigInt(row[at] as string))
    // Read after the rows: a record loaded in between is in neither, and `#lookElsewhere` finds it.
    const listed = await this.#listed(topic, partition, from, to)
    for (const record of chunk.records) {
      if (record.offset >= to) break
      await this.#record(table, record, { columns: found.columns, rows: rows.get(record.offset) ?? [] }, listed)
      rows.delete(record.offset)
      listed.delete(record.offset)
    }
    const none = 'and the log has no record there'
    for (const [offset, { length }] of rows)
      this.#differs(placeOf({ topic, partition, offset }), `${name} has ${length} rows of it, ${none}`)
    for (const offset of listed.keys())
      this.#differs(placeOf({ topic, partition, offset }), `internal.unreadable lists it, ${none}`)
    if (this.#elsewhere.size >= IDS_AT_ONCE) await this.#lookElsewhere(table)
    this.#options.onProgress?.(this.#rows)
    return to
  }

  /** Records that `internal.unreadable` lists, with the reason. */
  async #listed(topic: string, partition: number, from: bigint, to: bigint): Promise<Map<bigint, string>> {
    const { rows } = await this.#ask(
      `SELECT "offset", error FROM internal.unreadable WHERE topic = ${literal(topic)} AND "partition" = ${partition} AND "offset" >= ${from} AND "offset" < ${to}`,
    )
    return new Map(rows.map(([offset, error]) => [BigInt(offset as string), String(error)]))
  }

  async #record(
    table: ComparedTable,
    record: LogRecord,
    { columns, rows }: Answer,
    listed: ReadonlyMap<bigint, string>,
  ): Promise<void> {
    const where = placeOf(record)
    const error = listed.get(record.offset)
    const expected = await table.expected(record)
    if ('unreadable' in expected) return this.#cannotBeRead(table, where, expected, rows.length, error !== undefined)
    const { ce_id } = expected
    if (error !== undefined) {
      this.#differs(where, `internal.unreadable lists it (${error}), and it can be read; the next run loads it`, ce_id)
      return
    }
    if (rows.length === 0 && expected.rows.length > 0 && ce_id !== undefined) {
      this.#elsewhere.set(ce_id, where)
      return
    }
    if (rows.length !== expected.rows.length) {
      this.#differs(where, `${table.name} has ${rows.length} rows of it, expected ${expected.rows.length}`, ce_id)
      return
    }
    for (const [row, value] of expected.rows.entries()) {
      const column = columns.findIndex(({ name, type }, at) => !isSameValue(type, rows[row]?.[at], value(name)))
      if (column < 0) {
        this.#rows++
        continue
      }
      const name = columns[column]?.name ?? ''
      const values = `expected ${shown(value(name))}, got ${shown(rows[row]?.[column])}`
      this.#differs(where, `${table.name} row ${row} column ${name}: ${values}`, ce_id)
    }
  }

  #cannotBeRead(
    { name }: ComparedTable,
    where: string,
    { unreadable }: Unreadable,
    rows: number,
    is_listed: boolean,
  ): void {
    if (is_listed) this.#unreadable++
    if (rows > 0) this.#differs(where, `the record cannot be read (${unreadable}), yet ${name} has ${rows} rows of it`)
    else if (!is_listed)
      this.#differs(where, `the record cannot be read (${unreadable}), and internal.unreadable does not list it`)
  }

  /** Looks up, by id, records without rows at their offset: the log may hold an event twice. */
  async #lookElsewhere({ name }: ComparedTable): Promise<void> {
    const ids = [...this.#elsewhere.keys()]
    for (let at = 0; at < ids.length; at += IDS_AT_ONCE) {
      const list = ids
        .slice(at, at + IDS_AT_ONCE)
        .map(literal)
        .join(', ')
      const { rows } = await this.#ask(`SELECT DISTINCT ce_id FROM ${name} WHERE ce_id IN (${list})`)
      for (const [id] of rows) this.#elsewhere.delete(id as string)
    }
    for (const [id, where] of this.#elsewhere) this.#differs(where, `${name} has no row of it`, id)
    this.#elsewhere.clear()
  }

  async #rowsOf(view: KeptView): Promise<void> {
    const [[groups] = [0]] = (await this.#ask(`SELECT count(*)::INTEGER FROM ${groupsOf(view)}`)).rows
    const steps = stepsOf(groups as number)
    let differing = 0
    for (let at = 0; at < steps; at++) {
      for (const [group, shows, made] of (await this.#ask(differingRows(view, { at, of: steps }))).rows) {
        const message = `${view.name} shows ${shows} rows of the group that its events do not give, and lacks ${made} that they give; remove the DuckDB file, and the next run rebuilds it`
        this.#differs(`group ${group}`, message)
        differing++
      }
    }
    this.#groups += Math.max(0, (groups as number) - differing)
  }

  #differs(where: string, message: string, ce_id?: string): void {
    this.#findings.add('table', where, message, ce_id)
  }
}
