import { isDeepStrictEqual } from 'node:util'
import type { Blobs } from '../../../infra/blobs/blobs.ts'
import type { Log } from '../../../infra/log/port/log.ts'
import { answerStarter } from '../../../infra/supervise/answer-starter.ts'
import type { EventType } from '../../../schemas/declare/event.ts'
import type { CommitStage } from '../duckdb-batch.ts'
import { DuckDbSink, type DuckDbSinkOptions } from '../duckdb-sink.ts'
import type { TablesHealth } from '../tables-sink.ts'
import type { View } from '../views/view.ts'
import { tellQuestion, tellStarter } from './messages.ts'

/** How a process opens its tables. Every field can be sent to another process. */
export interface OwnerOptions
  extends Pick<
    DuckDbSinkOptions,
    'file' | 'export_dir' | 'serve' | 'wait_ms' | 'memory_limit' | 'poll_ms' | 'batch_bytes'
  > {
  /** Where the log and the blobs are; the process's own module knows how to open them. */
  readonly place: unknown
}

export interface OwnerParts {
  readonly catalogue: readonly EventType[]
  readonly views: readonly View[]
  readonly open: (place: never) => Promise<{ readonly log: Log; readonly blobs: Blobs }>
  /** Called at each stage of a transaction; for tests that kill the process there. */
  readonly observe?: (stage: CommitStage) => unknown
}

const HEALTH_MS = 250

/** Makes this process the owner of a DuckDB file: it loads, and answers SQL, for the process that started it. */
export function ownTables({ catalogue, views, open, observe }: OwnerParts): void {
  let log: Log | undefined
  let sink: DuckDbSink | undefined
  let told: TablesHealth | undefined
  const opened = () => {
    if (sink === undefined) throw new Error('the tables are not open')
    return sink
  }
  const tellHealth = () => {
    if (sink === undefined) return
    const health = structuredClone(sink.health)
    if (!isDeepStrictEqual(health, told)) tellStarter({ kind: 'health', health })
    told = health
  }
  answerStarter({
    async open(options) {
      const { place, ...rest } = options as OwnerOptions
      await log?.close() // left open by a failed attempt
      const parts = await open(place as never)
      log = parts.log
      sink = new DuckDbSink({
        ...rest,
        ...parts,
        catalogue,
        views,
        report: (message) => tellStarter({ kind: 'report', message }),
        started_by: process.ppid,
        onQuestion: tellQuestion,
        ...(observe === undefined ? {} : { observe }),
      })
      await sink.open()
      setInterval(tellHealth, HEALTH_MS).unref()
      return sink.socket
    },
    run: (_options, signal) => opened().run(signal),
    async load_once(_options, signal) {
      const loaded = await opened().loadOnce(signal)
      tellHealth()
      return loaded
    },
    lag: () => opened().lag(),
    async close() {
      tellHealth()
      await sink?.close()
      await log?.close()
    },
  })
}
