import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { Random } from '../../../environments/tower/random.ts'
import { duckdbFile } from '../../../pipeline/data-folder.ts'
import { openSql } from '../../../sinks/duckdb/sql-client.ts'
import { SqlFailedError, SqlRefusedError, SqlTimeoutError } from '../../../sinks/duckdb/sql-errors.ts'
import type { Plain } from '../../../sinks/duckdb/sql-result.ts'
import { outputOf, type Running, start } from '../../../testing/program.ts'
import type { FuzzPart, FuzzTarget } from '../fuzz.ts'
import { LISTED_FUNCTIONS, Statements } from './statements.ts'

const TIME_LIMIT_MS = 2_000
/** Long enough to kill an owner that does not stop, and for another process to open the tables. */
const LATEST_ANSWER_MS = 30_000
const SCENES = 5
const GROUP_SIZE = 4

/** Queries to the process that owns the tables of a real `plumbline run`. */
export const sqlPart: FuzzPart = {
  name: 'sql',
  async open() {
    const cwd = await mkdtemp(join(tmpdir(), 'plumbline-fuzz-sql-'))
    const generate = ['generate', 'tower', '--dataset', 'side_block', '--task', 'x_y', '--seed', '1']
    const size = ['--scenes', String(SCENES), '--group-size', String(GROUP_SIZE)]
    await outputOf(generate, start([...generate, ...size], { cwd }).ended)
    const target = new SqlTarget(cwd, start(['run'], { cwd }))
    try {
      await target.ready()
      return target
    } catch (cause) {
      await target.close()
      throw cause
    }
  },
}

class SqlTarget implements FuzzTarget {
  readonly #cwd: string
  readonly #running: Running
  readonly #file: string
  #statements = new Statements([])
  #settings = ''

  constructor(cwd: string, running: Running) {
    this.#cwd = cwd
    this.#running = running
    this.#file = duckdbFile(join(cwd, 'data'))
  }

  /** Waits until all rows are loaded and the owner answers. */
  async ready(): Promise<void> {
    const rewards = () => this.#ask('SELECT count(*) FROM rewards').catch(() => [])
    for (let tries = 0; (await rewards())[0]?.[0] !== String(SCENES * GROUP_SIZE); tries += 1) {
      if (tries > 300) throw new Error(`the tables are not loaded\n${this.#running.stderr()}`)
      await wait(100)
    }
    const listed = await this.#ask(LISTED_FUNCTIONS)
    this.#statements = new Statements(
      listed.map(([kind, name, parameters, varargs]) => ({
        kind: String(kind),
        name: String(name),
        parameters: (parameters as Plain[]).map(String),
        varargs: varargs === null ? null : String(varargs),
      })),
    )
    this.#settings = await this.#setting()
  }

  async attempt(random: Random, trying: (input: string) => void): Promise<string> {
    const { sql, forbidden } = this.#statements.next(random)
    trying(sql)
    const began_ms = performance.now()
    const outcome = await this.#outcome(sql)
    const took_ms = performance.now() - began_ms
    if (took_ms > LATEST_ANSWER_MS) {
      throw new Error(`expected an answer within ${LATEST_ANSWER_MS} ms, got it after ${Math.round(took_ms)} ms`)
    }
    if (forbidden && outcome === 'answered') throw new Error('expected a refusal, got an answer')
    return outcome
  }

  async #outcome(sql: string): Promise<string> {
    try {
      await this.#ask(sql)
      return 'answered'
    } catch (error) {
      if (error instanceof SqlRefusedError) return 'refused'
      if (error instanceof SqlTimeoutError) return 'timed out'
      if (!(error instanceof SqlFailedError)) throw error
      if (/stopped before the answer/.test(error.message)) return 'ended the owner'
      if (/INTERNAL Error|FATAL Error/.test(error.message)) return 'failed inside DuckDB'
      return 'failed'
    }
  }

  async check(): Promise<void> {
    if (this.#running.child.exitCode !== null) throw new Error(`run has ended\n${this.#running.stderr()}`)
    const [[count] = []] = await this.#ask('SELECT count(*) FROM rewards')
    if (count !== String(SCENES * GROUP_SIZE)) throw new Error(`expected ${SCENES * GROUP_SIZE} rewards, got ${count}`)
    const settings = await this.#setting()
    if (settings !== this.#settings) throw new Error(`settings have changed: ${settings} instead of ${this.#settings}`)
    const odd = (await readdir(this.#cwd, { recursive: true })).filter((name) => name.includes('fuzzed'))
    if (odd.length > 0) throw new Error(`files were written: ${odd.join(', ')}`)
    await this.#connectionsAreClosed()
  }

  async #connectionsAreClosed(): Promise<void> {
    let open: Plain = null
    for (let tries = 0; tries < 50; tries += 1) {
      open = (await this.#ask('SELECT count FROM duckdb_connection_count()'))[0]?.[0] ?? null
      if (open === '2') return // the sink's and the one that asks
      await wait(100)
    }
    throw new Error(`expected 2 open connections at rest, got ${open}`)
  }

  async #setting(): Promise<string> {
    return JSON.stringify(await this.#ask('SELECT name, value FROM duckdb_settings() ORDER BY ALL'))
  }

  async #ask(sql: string): Promise<Plain[][]> {
    const session = await openSql({ file: this.#file, time_limit_ms: TIME_LIMIT_MS })
    try {
      const rows: Plain[][] = []
      for await (const batch of (await session.query(sql)).batches) if (rows.length < 20_000) rows.push(...batch)
      return rows
    } finally {
      await session.close()
    }
  }

  async close(): Promise<void> {
    const { child } = this.#running
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, 'close')
      child.kill('SIGTERM')
      const late = setTimeout(() => child.kill('SIGKILL'), 10_000)
      await ended
      clearTimeout(late)
    }
    await rm(this.#cwd, { recursive: true, force: true })
  }
}
