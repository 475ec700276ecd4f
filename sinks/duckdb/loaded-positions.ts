import type { DuckDBConnection } from '@duckdb/node-api'
import { lastRecord } from '../../infra/log/port/last-record.ts'
import type { Log, LogRecord, Position } from '../../infra/log/port/log.ts'
import { lastRead, positionOf } from '../../infra/log/port/seen.ts'
import { DEAD_LETTERS_TOPIC, isCompacted } from '../../infra/runtime/internal/internal-topics.ts'
import { headerOf } from '../../infra/runtime/internal/json-records.ts'
import type { Misplaced } from '../../infra/runtime/state/misplaced.ts'
import { qualified } from '../../schemas/derive/sql-quoting.ts'
import { ReadPositions } from '../read-positions.ts'
import { wrongLog } from '../wrong-log.ts'
import type { LoadTarget } from './event-tables.ts'
import { OTHER_LOG } from './other-log.ts'

/** How many records before an adopted position are looked up in the tables: some events have no rows. */
const LOOKED_FOR = 16

/** How far each topic is loaded, as the file stores it. */
export class LoadedPositions {
  readonly read: ReadPositions
  readonly #log: Log
  readonly #file: string
  readonly #connection: DuckDBConnection
  /** Positions of an earlier release, which stored only offsets, completed here until they are committed. */
  #adopted: Position[] = []
  #compared = false

  constructor(log: Log, file: string, connection: DuckDBConnection) {
    this.#log = log
    this.#file = file
    this.#connection = connection
    this.read = new ReadPositions(log, (misplaced) => this.#refuse(misplaced))
  }

  /** Replaces the positions in memory with the committed ones. */
  async reload(): Promise<void> {
    const found = await this.#connection.runAndReadAll('SELECT topic, "partition", next, seen FROM internal.positions')
    this.read.reload(
      found
        .getRows()
        .map(([topic, partition, next, seen]) =>
          positionOf(topic as string, partition as number, next as bigint, seen as string | null),
        ),
    )
  }

  /**
   * Compares every position with the log: in full the first time, later by topic id only.
   * @returns adopted positions of an earlier release, to be committed with topic id and last record
   * @throws WrongLogError
   */
  async compare(targets: readonly LoadTarget[]): Promise<readonly Position[]> {
    await this.read.compare(this.#compared ? 'by id' : 'in full')
    if (this.#compared) {
      return this.#adopted.filter(({ topic, partition }) => this.read.of(topic, partition).seen === undefined)
    }
    const misplaced: Misplaced[] = []
    for (const position of this.read.all.filter(({ seen }) => seen === undefined)) {
      const adopted = await this.#adopt(position, targets)
      if ('why' in adopted) misplaced.push(adopted)
      else this.#adopted.push(adopted)
    }
    if (misplaced.length > 0) await this.#refuse(misplaced)
    await this.#connection.run('DELETE FROM internal.meta WHERE name = $1', [OTHER_LOG])
    this.#compared = true
    return this.#adopted
  }

  async #adopt(position: Position, targets: readonly LoadTarget[]): Promise<Position | Misplaced> {
    const { topic, partition, next } = position
    const last = await lastRecord(this.#log, topic, partition, next)
    if (isCompacted(topic) || last === undefined) return this.read.after(position, next, undefined)
    let record: LogRecord | undefined = last
    for (let looked = 0; record !== undefined && looked < LOOKED_FOR; looked++) {
      if (await this.#holds(record, targets)) {
        const { seen } = this.read.after(position, next, undefined)
        return { ...position, seen: { topic_id: seen?.topic_id ?? '', last: lastRead(last) } }
      }
      record = await lastRecord(this.#log, topic, partition, record.offset)
    }
    return { position, why: `no table holds the record at offset ${last.offset}: another one was loaded there` }
  }

  /** Whether the file has the record, as rows or as an unreadable record. */
  async #holds(record: LogRecord, targets: readonly LoadTarget[]): Promise<boolean> {
    const { topic, partition, offset } = record
    const some = async (sql: string, values: (string | number | bigint)[]) =>
      (await this.#connection.runAndReadAll(`${sql} LIMIT 1`, values)).currentRowCount > 0
    if (topic === DEAD_LETTERS_TOPIC)
      return await some('SELECT 1 FROM internal.dead_letters WHERE log_partition = $1 AND log_offset = $2', [
        partition,
        offset,
      ])
    const unreadable = 'SELECT 1 FROM internal.unreadable WHERE topic = $1 AND "partition" = $2 AND "offset" = $3'
    if (await some(unreadable, [topic, partition, offset])) return true
    const target = targets.find(({ type }) => type.type === topic)
    const ce_id = headerOf(record, 'ce_id')
    if (target === undefined || ce_id === undefined) return false
    return await some(`SELECT 1 FROM ${qualified(target.schema, target.table)} WHERE ce_id = $1`, [ce_id])
  }

  /** Also records the reason in the file, so that SQL clients learn why loading has stopped. */
  async #refuse(misplaced: readonly Misplaced[]): Promise<never> {
    const remedy = 'Delete the file: everything in it is made again from the log.'
    const error = wrongLog(this.#file, this.#log, misplaced, remedy)
    await this.#connection.run('INSERT OR REPLACE INTO internal.meta VALUES ($1, $2)', [OTHER_LOG, error.message])
    throw error
  }
}
