import { setTimeout as wait } from 'node:timers/promises'
import type { Listening } from '../infra/http/listen.ts'
import { inputTopics } from '../infra/runtime/execution.ts'
import { lagOf } from '../infra/runtime/lag.ts'
import { serveMetrics } from '../infra/runtime/metrics-server.ts'
import { RunMetrics } from '../infra/runtime/run-metrics.ts'
import type { DuckDbSink } from '../sinks/duckdb/sink.ts'
import { processorsOf } from '../streams/describe.ts'
import type { Topology } from '../streams/topology.ts'
import type { DataFolder } from './data-folder.ts'
import type { Listen } from './listen.ts'
import { UsageError } from './usage-error.ts'

const SINK_PATIENCE_MS = 500
/** Well within the 10 seconds that Prometheus waits for an answer. */
const LOG_PATIENCE_MS = 5_000

/** What a run counts of itself, and where it is asked for it. */
export async function startMetrics(
  listen: Listen,
  { log }: DataFolder,
  topology: Topology,
  only: readonly string[],
  sink: DuckDbSink | undefined,
): Promise<{ readonly metrics: RunMetrics; readonly server: Listening }> {
  const processors = processorsOf(topology).filter(({ name }) => only.length === 0 || only.includes(name))
  let sink_lag: number | undefined
  const lookUp = async () => {
    const found = new Map<string, number>()
    for (const processor of processors) {
      found.set(processor.name, Number(await lagOf(log, processor.name, inputTopics(processor))))
    }
    if (sink !== undefined) {
      // The sink answers between two passes; while a long one goes on, what it said last stands.
      const known = sink.lag().then((lag) => {
        sink_lag = Number(lag)
      })
      await Promise.race([known.catch(() => {}), wait(SINK_PATIENCE_MS)])
      if (sink_lag !== undefined) found.set('duckdb', sink_lag)
    }
    return found
  }
  // A broker that is away is tried for longer than whoever scrapes waits, and one look at it at a time is enough.
  let looking: Promise<ReadonlyMap<string, number>> | undefined
  const lags = () => {
    looking ??= lookUp().finally(() => {
      looking = undefined
    })
    return Promise.race([looking.catch(() => undefined), wait(LOG_PATIENCE_MS, undefined, { ref: false })])
  }
  const metrics = new RunMetrics(
    processors.map(({ name, outputs }) => ({ name, outputs: outputs.map(({ type }) => type) })),
    lags,
    new Map(sink === undefined ? [] : [['duckdb', () => sink.health]]),
  )
  try {
    return { metrics, server: await serveMetrics(metrics, listen) }
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause)
    throw new UsageError(
      `--metrics ${listen.host}:${listen.port}: ${problem}`,
      'name another port; 0 is any free one',
      {
        cause,
      },
    )
  }
}
