import { setTimeout as wait } from 'node:timers/promises'
import { duckdbFile } from '../../pipeline/data-folder.ts'
import { readOwner } from '../../sinks/duckdb/owner-record.ts'
import { SqlEndedError, SqlFailedError } from '../../sinks/duckdb/sql-errors.ts'
import { catalogue } from '../../streams/vocabulary.ts'
import { sqlRows } from '../sql-rows.ts'
import type { Crew } from './crew.ts'
import { type TablesKilled, tellKill } from './kills.ts'
import { Breach, PATIENCE_MS, PATIENCE_S, present, textOf } from './strikes.ts'

/** A process that has committed nothing by then is killed where it is. */
const TRAP_MS = 30_000

const READ_TO = 'select coalesce(sum(next), 0)::varchar from internal.positions'

/** Rows at or after the position of their partition: committed separately from it. */
const BEYOND = `
  with rows as (${catalogue
    .map(({ type }) => `select '${type}' as topic, log_partition, max(log_offset) as last from ${type} group by all`)
    .join(' union all ')})
  select count(*)::int from rows
  left join internal.positions as read on read.topic = rows.topic and read."partition" = rows.log_partition
  where read.next is null or rows.last >= read.next`

/**
 * Kills DuckDB's process. Its supervisor must report it, start another and resume loading; rows and positions must be
 * of the same transactions.
 *
 * @returns what happened, as text
 */
export async function killTables(crew: Crew, data: string, fault: TablesKilled): Promise<string> {
  await present(crew, 'sink')
  const file = duckdbFile(data)
  const pid = await ownerOf(file)
  const from = crew.heard.now
  const ends = (limit_ms: number) =>
    crew.heard.first(from, limit_ms, (said) => textOf(said).includes(`the DuckDB process (pid ${pid}) has ended`))
  const { at } = fault
  if (at === undefined) process.kill(pid, 'SIGKILL')
  else crew.tablesTrap.set({ ...at, delay_ms: 0, signal: 'SIGKILL' })
  let reached = at !== undefined
  if (at !== undefined && (await ends(TRAP_MS)) === undefined) {
    reached = false
    crew.tablesTrap.unset()
    process.kill(pid, 'SIGKILL')
  }
  if ((await ends(PATIENCE_MS)) === undefined) {
    throw new Breach(`${tellKill(fault)}: its supervisor did not say so within ${PATIENCE_S}`)
  }
  const began_ms = performance.now()
  const before = BigInt((await asked(file, READ_TO)) as string)
  const beyond = await asked(file, BEYOND)
  if (beyond !== 0) throw new Breach(`${tellKill(fault)}: ${beyond} partitions have rows behind their position`)
  while (BigInt((await asked(file, READ_TO)) as string) === before) {
    if (performance.now() - began_ms > PATIENCE_MS) {
      throw new Breach(`${tellKill(fault)}: nothing was loaded within ${PATIENCE_S}`)
    }
    await wait(100)
  }
  const told = reached || at === undefined ? tellKill(fault) : `${tellKill(fault)}, which it did not reach`
  return `${told}: it was started again, and loaded on`
}

async function ownerOf(file: string): Promise<number> {
  for (let waited_ms = 0; waited_ms < PATIENCE_MS; waited_ms += 50) {
    const owner = readOwner(file)
    if (owner !== undefined && owner.pid !== owner.ended?.pid) return owner.pid
    await wait(50)
  }
  throw new Breach(`no process had the tables open within ${PATIENCE_S}`)
}

/** The one value of an answer; the query is repeated while the process starts. */
async function asked(file: string, sql: string): Promise<unknown> {
  const began_ms = performance.now()
  for (;;) {
    try {
      return (await sqlRows({ file }, sql))[0]?.[0]
    } catch (cause) {
      if (cause instanceof SqlFailedError && !(cause instanceof SqlEndedError)) throw cause
      if (performance.now() - began_ms > PATIENCE_MS) throw cause
      await wait(100)
    }
  }
}
