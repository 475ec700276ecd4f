import { setTimeout as wait } from 'node:timers/promises'
import type { Listening } from '../infra/http/listen.ts'
import { DEAD_LETTERS_TOPIC } from '../infra/runtime/internal/internal-topics.ts'
import { lagOf } from '../infra/runtime/watch/lag.ts'
import { serveMetrics } from '../infra/runtime/watch/metrics-server.ts'
import { type Health, RunMetrics } from '../infra/runtime/watch/run-metrics.ts'
import { inputTopics } from '../processors/processor.ts'
import type { Sink } from '../sinks/sink.ts'
import { processorsOf } from '../streams/describe.ts'
import type { Topology } from '../streams/topology.ts'
import type { DataFolder } from './data-folder.ts'
import { UsageError } from './usage-error.ts'

/** Where a server listens; port 0 is any free one. */
export interface Listen {
  readonly host: string
  readonly port: number
}

const SINK_PATIENCE_MS = 500
/** Well within the 10 seconds that Prometheus waits for an answer. */
const LOG_PATIENCE_MS = 5_000

/**
 * Reports every topic from the first scrape on, with 0: an alert rule needs an existing series. A driver's health may
 * have more than the port's: DuckDB's has the restarts and the memory of its process.
 */
function healthOf({ health }: Sink, { events }: Topology): Health {
  const none = Object.fromEntries([...events.map(({ type }) => type), DEAD_LETTERS_TOPIC].map((topic) => [topic, 0]))
  return { ...health, unreadable: { ...none, ...health.unreadable } }
}

/** Starts the metrics of a run and the server that exposes them. */
export async function startMetrics(
  listen: Listen,
  { log }: DataFolder,
  topology: Topology,
  only: readonly string[],
  sinks: readonly Sink[],
): Promise<{ readonly metrics: RunMetrics; readonly server: Listening }> {
  const processors = processorsOf(topology).filter(({ name }) => only.length === 0 || only.includes(name))
  const sink_lags = new Map<string, number>()
  const lookUp = async () => {
    const found = new Map<string, number>()
    for (const processor of processors) {
      found.set(processor.name, Number(await lagOf(log, processor.name, inputTopics(processor))))
    }
    // A sink answers between two passes. During a long pass, its last reported lag is used.
    const answers = sinks.map(async (sink) => {
      const known = sink.lag().then((lag) => {
        sink_lags.set(sink.name, Number(lag))
      })
      await Promise.race([known.catch(() => {}), wait(SINK_PATIENCE_MS)])
    })
    await Promise.all(answers)
    for (const [name, lag] of sink_lags) found.set(name, lag)
    return found
  }
  // An unreachable broker is retried for longer than a scraper waits, so all scrapes share one look-up.
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
    new Map(sinks.map((sink) => [sink.name, () => healthOf(sink, topology)])),
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
