import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Random } from '../../../environments/tower/random.ts'
import { openLmdbLog } from '../../../infra/log/lmdb/lmdb-log.ts'
import type { Log } from '../../../infra/log/port/log.ts'
import { openDuckDbSink } from '../../../sinks/duckdb/duckdb-sink.ts'
import { SupervisedSink } from '../../../sinks/duckdb/process/supervised-sink.ts'
import { openSql } from '../../../sinks/duckdb/sql-client.ts'
import { catalogue, views } from '../../../streams/vocabulary.ts'
import { append, createTopics } from '../../../testing/duckdb/recorded-tower.ts'
import { AskedProcess, ProcessDiedError } from './asked-process.ts'
import { type DamageKind, damaged, PAGE } from './damage.ts'
import { type TablesAnswer, tablesAnswer } from './tables-answer.ts'
import type { TablesQuestion, TablesRead } from './tables-reader.ts'
import type { Target } from './target.ts'

const ENTRY = new URL('../../../pipeline/tables-process.ts', import.meta.url)
const MOST_MS = 90_000
/** How often a file is used by the program's own processes, which take a second to start. */
const SUPERVISED_SHARE = 0.1
/** DuckDB's three headers, and the size of its blocks. */
const HEADER_PAGES = 3
const BLOCK_PAGES = 64

/**
 * The DuckDB file or its write-ahead log. Half of the files are queried, as by `plumbline sql` without an owner; half
 * continue to be loaded, as by `plumbline run`, and are queried then. The answers must be what the log has below the
 * positions in the file. If the file ends the process that uses it, the program's own processes must report that.
 */
export class TablesFile implements Target {
  readonly name = 'tables'
  readonly #dir: string
  readonly #log: Log
  readonly #file: Buffer
  readonly #wal: Buffer
  readonly #right: TablesAnswer
  readonly #hot: readonly number[]
  readonly #reader = new AskedProcess<TablesQuestion, TablesRead>('./tables-reader.ts')

  private constructor(dir: string, log: Log, files: { file: Buffer; wal: Buffer }, right: TablesAnswer) {
    this.#dir = dir
    this.#log = log
    this.#file = files.file
    this.#wal = files.wal
    this.#right = right
    const pages = Array.from({ length: files.file.byteLength / PAGE }, (_, at) => at)
    this.#hot = pages.filter((at) => at < HEADER_PAGES || (at - HEADER_PAGES) % BLOCK_PAGES === 0)
  }

  /** @param dir a separate folder */
  static async make(dir: string): Promise<TablesFile> {
    const log = await openLmdbLog({ dir: join(dir, 'log'), durability: 'survives_kill_only' })
    await createTopics(log)
    const groups = (from: number, to: number) =>
      append(log, (story) => {
        for (let at = from; at < to; at++) {
          const group = `g${at}`
          story.requested(group, 3).sampled(group, [0, 1, 2]).scored(group, [20, 0, -5])
          if (at % 3 > 0) story.formed(group, [20, 0, -5])
        }
      })
    const file = join(dir, 'sound.duckdb')
    await groups(0, 40)
    const first = await openDuckDbSink({ file, log, catalogue, views, serve: false })
    await first.loadOnce()
    await first.close() // a checkpoint: the write-ahead log is empty
    const second = await openDuckDbSink({ file, log, catalogue, views, serve: false })
    for (let from = 40; from < 60; from += 5) {
      await groups(from, from + 5)
      await second.loadOnce()
    }
    const files = { file: readFileSync(file), wal: readFileSync(`${file}.wal`) }
    if (files.wal.byteLength === 0) throw new Error(`${file}.wal: expected commits that are not in the file yet`)
    await groups(60, 70)
    await second.loadOnce()
    await second.close()
    return new TablesFile(dir, log, files, await asked(file))
  }

  attempt: Target['attempt'] = async (random, kind, trying) => {
    const file = join(this.#dir, 'damaged.duckdb')
    const is_loaded = random.uniform() < 0.5
    const is_supervised = random.uniform() < SUPERVISED_SHARE
    const files = this.#damaged(random, kind)
    const how = is_loaded ? 'loaded' : 'asked'
    trying(`${files.what}, ${how}`)
    write(file, files)
    const question = { file, ...(is_loaded ? { log: join(this.#dir, 'log') } : {}) }
    const reader = () => (is_supervised ? inTime(this.#supervised(file, is_loaded)) : this.#reader.ask(question))
    try {
      return `${how}: ${this.#judged(await reader(), question)}`
    } catch (cause) {
      if (!(cause instanceof ProcessDiedError)) throw cause
      write(file, files)
      const read = await inTime(this.#supervised(file, is_loaded))
      if (read.error === undefined) throw new Error(`${cause.message}, and the program's own processes answered`)
      return `${how}: its process ended, ${this.#judged(read, question)}`
    }
  }

  async close(): Promise<void> {
    await this.#reader.close()
    await this.#log.close()
  }

  #damaged(random: Random, kind: DamageKind): { what: string; bytes: Buffer; wal: Buffer | undefined } {
    if (random.uniform() < 0.25) {
      const { bytes, what } = damaged(random, kind, this.#wal)
      return { what: `write-ahead log: ${what}`, bytes: this.#file, wal: bytes }
    }
    const { bytes, what } = damaged(random, kind, this.#file, { hot: this.#hot, isNoticed })
    // Without its write-ahead log the file has the rows and positions of its last checkpoint.
    const with_wal = random.uniform() < 0.5
    return { what: `${what}${with_wal ? ', with its log' : ''}`, bytes, wal: with_wal ? this.#wal : undefined }
  }

  /** Uses the file by the processes that `plumbline run` and `plumbline sql` start. */
  async #supervised(file: string, is_loaded: boolean): Promise<TablesRead> {
    let loaded = false
    try {
      if (is_loaded) {
        const sink = new SupervisedSink({ entry: ENTRY })
        try {
          await sink.open({ file, place: { data: this.#dir, log: this.#log.address }, serve: false })
          while (!(await sink.loadOnce()).caught_up);
          loaded = true
        } finally {
          await sink.close()
        }
      }
      return { loaded, answer: await asked(file) }
    } catch (cause) {
      const { name, message } = cause as Error
      return { loaded, error: name, message }
    }
  }

  /** @throws Error when the file gave neither the right answer nor a clear error. */
  #judged({ error, message = '', loaded, answer }: TablesRead, { file, log }: TablesQuestion): string {
    if (answer === undefined) {
      if (message.includes(`${file}: expected a whole DuckDB file`)) return 'damage named'
      throw new Error(`${error}: ${message}`)
    }
    const is_all = this.#compare(answer)
    if (log !== undefined && !(loaded && is_all))
      throw new Error('caught up, and rows of the log are not in the tables')
    return is_all || log !== undefined ? 'the right answer' : 'the right answer as of its positions'
  }

  /** @returns whether the whole log is loaded. @throws Error when the rows are not those below the positions. */
  #compare({ rows, views, positions }: TablesAnswer): boolean {
    let is_all = true
    for (const [table, right] of Object.entries(this.#right.rows)) {
      const expected = right.filter(({ place, offset }) => offset < (positions[place] ?? 0))
      if (expected.length < right.length) is_all = false
      const found = rows[table] ?? []
      if (textOf(found) === textOf(expected)) continue
      throw new Error(
        `${table}: expected the ${expected.length} rows below its positions, got ${found.length}, or others`,
      )
    }
    if (is_all && views !== this.#right.views) throw new Error(`expected ${this.#right.views}, got ${views}`)
    return is_all
  }
}

/** DuckDB's checksums do not cover a block's number: it cannot notice one whole block in place of another. */
const isNoticed = (from: number, at: number) => from >= HEADER_PAGES && (from - at) % BLOCK_PAGES !== 0

const textOf = (rows: readonly { readonly text: string }[]) => rows.map(({ text }) => text).join('\n')

function write(file: string, { bytes, wal }: { bytes: Buffer; wal: Buffer | undefined }): void {
  for (const end of ['', '.wal', '.owner']) rmSync(`${file}${end}`, { force: true })
  writeFileSync(file, bytes)
  if (wal !== undefined) writeFileSync(`${file}.wal`, wal)
}

async function asked(file: string): Promise<TablesAnswer> {
  const session = await openSql({ file })
  try {
    return await tablesAnswer(async (sql) => {
      const rows: unknown[][] = []
      for await (const batch of (await session.query(sql)).batches) rows.push(...batch)
      return rows
    })
  } finally {
    await session.close()
  }
}

/** @throws Error when there is no answer in time. */
async function inTime<T>(work: Promise<T>): Promise<T> {
  let late: NodeJS.Timeout | undefined
  const limit = new Promise<never>((_resolve, reject) => {
    late = setTimeout(() => reject(new Error(`no answer within ${MOST_MS / 1_000} s`)), MOST_MS)
  })
  return await Promise.race([work, limit]).finally(() => clearTimeout(late))
}
