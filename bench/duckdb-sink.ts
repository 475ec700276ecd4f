import { type DuckDBConnection, DuckDBDataChunk, DuckDBInstance, type DuckDBValue } from '@duckdb/node-api'
import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import { formGroups } from '../processors/form-groups/form-groups.ts'
import { paperScorer } from '../processors/score-completions/paper-scorer.ts'
import { scoreCompletions } from '../processors/score-completions/score-completions.ts'
import type { EventType } from '../schemas/declare/event.ts'
import { tableOf } from '../schemas/derive/duckdb-table.ts'
import { completionsScored } from '../schemas/events/tower.ts'
import { type DuckDbSink, openDuckDbSink } from '../sinks/duckdb/duckdb-sink.ts'
import { catalogue, views } from '../streams/vocabulary.ts'
import { benchFolder } from './folder.ts'
import type { OpenBench } from './pairs.ts'
import { appendAll, emittedBy, sampledGroups } from './tower-log.ts'

const VECTOR = 2048

/** Loads the log into DuckDB, compared with the appender alone on the same values, already in DuckDB's own form. */
export const open: OpenBench = async ({ quick }) => {
  const folder = await benchFolder()
  const sampled = await sampledGroups(quick ? 20 : 300)
  const scored = await emittedBy(scoreCompletions(await paperScorer()), sampled)
  const events = [
    ...sampled,
    ...scored,
    ...(await emittedBy(formGroups({ dialect: 'paper', scored: [completionsScored] }), [...sampled, ...scored])),
  ]
  const log = await openLmdbLog({ dir: folder.fresh('log') })
  await appendAll(log, events, [formGroups({ dialect: 'paper', scored: [completionsScored] })])

  let sink: DuckDbSink | undefined
  const openSink = async () => {
    await sink?.close()
    sink = await openDuckDbSink({ file: `${folder.fresh('events')}.duckdb`, log, catalogue, views, serve: false })
    return sink
  }
  const first = await openSink()
  await first.loadOnce()
  const loaded = await first.connect()
  const tables: Table[] = []
  for (const type of new Set(events.map((event) => event.type))) tables.push(await tableWith(loaded, type))
  loaded.disconnectSync()
  const rows = tables.reduce((sum, { count }) => sum + count, 0)

  let raw: { instance: DuckDBInstance; connection: DuckDBConnection } | undefined
  const closeRaw = () => {
    raw?.connection.disconnectSync()
    raw?.instance.closeSync()
  }
  return {
    measures: [
      {
        what: 'DuckDB sink, from the log',
        unit: 'rows',
        seconds: 'wall',
        goal: 0.5,
        candidate: {
          what: 'sink',
          async prepare() {
            await openSink()
          },
          async run() {
            await sink?.loadOnce()
            return rows
          },
        },
        ceiling: {
          what: 'raw appender, same rows',
          async prepare() {
            closeRaw()
            const instance = await DuckDBInstance.create(`${folder.fresh('raw')}.duckdb`)
            const connection = await instance.connect()
            for (const { type } of tables) await connection.run(tableOf(type).ddl)
            raw = { instance, connection }
          },
          async run() {
            if (raw === undefined) return 0
            await raw.connection.run('BEGIN')
            for (const table of tables) await append(raw.connection, table)
            await raw.connection.run('COMMIT')
            return rows
          },
        },
      },
    ],
    async close() {
      await sink?.close()
      closeRaw()
      await log.close()
      await folder.remove()
    },
  }
}

/** A table's values by column, and the DuckDB types that they are appended as. */
interface Table {
  readonly type: EventType
  readonly count: number
  readonly columns: readonly DuckDBValue[][]
  readonly types: ReturnType<Awaited<ReturnType<DuckDBConnection['runAndReadAll']>>['columnTypes']>
}

async function tableWith(connection: DuckDBConnection, type: EventType): Promise<Table> {
  const { schema, table } = tableOf(type)
  const read = await connection.runAndReadAll(`FROM "${schema}"."${table}"`)
  return { type, count: read.currentRowCount, columns: read.getColumns(), types: read.columnTypes() }
}

async function append(connection: DuckDBConnection, { type, count, columns, types }: Table): Promise<void> {
  const { schema, table } = tableOf(type)
  const appender = await connection.createAppender(table, schema)
  for (let from = 0; from < count; from += VECTOR) {
    const rows = Math.min(VECTOR, count - from)
    const chunk = DuckDBDataChunk.create(types, rows)
    for (const [column, values] of columns.entries()) chunk.setColumnValues(column, values.slice(from, from + rows))
    appender.appendDataChunk(chunk)
  }
  appender.flushSync()
  appender.closeSync()
}
