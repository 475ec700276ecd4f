import { hostname } from 'node:os'
import {
  CommitOutcomeUnknownError,
  FencedError,
  LogBusyError,
  LogFullError,
  LogUnreachableError,
} from '../infra/log/log.ts'
import { ClockSource } from '../infra/runtime/clock-source.ts'
import { effectWorker, type Outside } from '../infra/runtime/effect-worker.ts'
import { inputTopics } from '../infra/runtime/execution.ts'
import { lagOf } from '../infra/runtime/lag.ts'
import { sleep } from '../infra/runtime/sleep.ts'
import { claimTopology, partitionsIn, topicsOf } from '../infra/runtime/topics.ts'
import { type CommitStage, latest, type Tuning, Worker, type WorkerEvent } from '../infra/runtime/worker.ts'
import type { Processor } from '../processors/processor.ts'
import type { ClockDomain } from '../schemas/event.ts'
import { partitionsText } from '../schemas/partitions.ts'
import { catalogueOf } from '../schemas/registry.ts'
import type { DuckDbSink } from '../sinks/duckdb/sink.ts'
import { fingerprintOf, identityOf, processorsOf } from '../streams/describe.ts'
import { DEFAULTS, type Topology, type TopologyOptions, topology } from '../streams/topology.ts'
import type { DataFolder } from './data-folder.ts'
import type { GlobalOptions } from './options.ts'
import { outsideOf } from './outside.ts'
import { UsageError } from './usage-error.ts'

export interface PipelineOptions {
  readonly folder: DataFolder
  readonly topology: Topology
  /** Undefined: only workers run. */
  readonly sink: DuckDbSink | undefined
  /** Names of the processors to run; all when empty. */
  readonly only: readonly string[]
  readonly until_idle: boolean
  readonly expire_pending: boolean
  readonly signal: AbortSignal
  readonly onWorkerEvent: (processor: string, event: WorkerEvent) => void
  readonly onLag?: (lag: ReadonlyMap<string, bigint>) => void
  /** What policies over HTTP may reach; the key of the environment when left out. */
  readonly outside?: Outside
  readonly tuning?: Partial<Tuning>
  /** Told where a worker's commit is; for tests that kill the process there. */
  readonly observe?: (processor: string, stage: CommitStage) => void
}

/** Tells this process from every other one on the log. */
const INSTANCE = `${hostname()}/${process.pid}`
const WALL_TICK_MS = 1_000
const CHECK_MS = 50

/** The topology that was asked for. @throws UsageError when it cannot be made of these options. */
export async function wiringOf(options: Partial<TopologyOptions>): Promise<Topology> {
  try {
    return await topology({ ...DEFAULTS, ...options })
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(error.message, 'see ./plumbline help run')
    throw error
  }
}

/**
 * The same on a log, which remembers its partitions.
 * @throws UsageError when others are asked for.
 */
export async function wiringOn(
  { log }: Pick<DataFolder, 'log'>,
  { partitions: asked }: Pick<GlobalOptions, 'partitions'>,
  options: Partial<TopologyOptions> = {},
): Promise<Topology> {
  const there = await partitionsIn(log, (await wiringOf({})).events)
  const partitions = asked ?? there ?? DEFAULTS.partitions
  if (there !== undefined && partitionsText(there) !== partitionsText(partitions)) {
    throw new UsageError(
      `--partitions ${partitionsText(partitions)}: ${log.address} was made with ${partitionsText(there)}, and keys lie where that puts them`,
      `leave it out; or bring the sources into another place: ./plumbline replay --sources-only --partitions ${partitionsText(partitions)} --to DIR`,
    )
  }
  return await wiringOf({ ...options, partitions })
}

/** Creates the topics that a topology needs, and refuses a log whose state it cannot take over. */
export async function prepareLog(folder: DataFolder, topology: Topology): Promise<void> {
  await folder.log.createTopics(topicsOf(topology.events, processorsOf(topology), topology.partitions))
  await claimTopology(folder.log, { ...identityOf(topology), fingerprint: fingerprintOf(topology) })
}

/** Runs workers and the sink in this process until told to stop, or until everything that can be done is done. */
export async function runPipeline(options: PipelineOptions): Promise<void> {
  const { folder, topology, sink, signal } = options
  await prepareLog(folder, topology)
  const processors = processorsOf(topology).filter(
    ({ name }) => options.only.length === 0 || options.only.includes(name),
  )
  const stop = new AbortController()
  signal.addEventListener('abort', () => stop.abort(), { once: true })
  if (signal.aborted) stop.abort()
  const workers = processors.map((processor) => {
    const shared = {
      log: folder.log,
      blobs: folder.blobs,
      vocabulary: catalogueOf(topology.events),
      partitions: topology.partitions,
      instance: INSTANCE,
      onEvent: (event: WorkerEvent) => options.onWorkerEvent(processor.name, event),
      observe: (stage: CommitStage) => options.observe?.(processor.name, stage),
      tuning: options.tuning ?? {},
    }
    return processor.shape === 'effect'
      ? effectWorker({ ...shared, processor, outside: options.outside ?? outsideOf({}) })
      : new Worker({ ...shared, processor })
  })
  const running = [...workers.map((worker) => worker.run(stop.signal)), ...(sink ? [sink.run(stop.signal)] : [])]
  const failed = Promise.all(running).then(() => undefined)
  const clock = options.until_idle
    ? untilIdle(options, processors, workers, stop.signal)
    : tickWall(options, stop.signal)
  try {
    await Promise.race([failed, clock])
  } finally {
    stop.abort()
    // The clock too: whoever closes the log next would take its answer from under it.
    await Promise.allSettled([...running, clock])
  }
  await failed
  if (!options.until_idle || sink === undefined) return
  // A stop leaves the rest to the next run: what a pass has in hand is committed, and the log keeps what it has not.
  while (!signal.aborted && !(await sink.loadOnce(signal)).caught_up);
}

async function untilIdle(
  { folder, topology, expire_pending, onLag }: PipelineOptions,
  processors: readonly Processor[],
  workers: readonly Worker[],
  signal: AbortSignal,
): Promise<void> {
  const clock = await ClockSource.open(folder.log, topology.partitions, INSTANCE)
  try {
    await idle()
    await tick((worker, domain) => worker.unticked(domain))
    await idle()
    if (!expire_pending) return
    await tick((worker, domain) => worker.latestDeadline(domain))
    await idle()
  } finally {
    await clock.close()
  }

  /** Not after a stop: what is open then has not been waited for. */
  async function tick(timeOf: (worker: Worker, domain: ClockDomain) => string | undefined): Promise<void> {
    for (const domain of ['virtual', 'wall'] as const) {
      const time = latest(workers.map((worker) => timeOf(worker, domain)))
      if (time !== undefined && !signal.aborted) await clock.tick(domain, domain === 'wall' ? notAhead(time) : time)
    }
  }

  /** Nothing is left to read, in every group, as of one look at all of them after the last of them went quiet. */
  async function idle(): Promise<void> {
    for (let quiet = 0; quiet < 2 && !signal.aborted; ) {
      const lags = new Map<string, bigint>()
      for (const processor of processors) {
        lags.set(processor.name, await lagOf(folder.log, processor.name, inputTopics(processor)))
      }
      onLag?.(lags)
      const behind = [...lags.values()].some((lag) => lag > 0n)
      quiet = !behind && workers.every((worker) => worker.idle) ? quiet + 1 : 0
      if (quiet < 2) await sleep(CHECK_MS, signal)
    }
  }
}

/** One wrong time in an event must not turn the wall clock ahead of the host's, where no true tick would count any more. */
function notAhead(time: string): string {
  const now = new Date().toISOString()
  return time < now ? time : now
}

/** The wall clock ticks while the pipeline runs on; a log that is full, busy or away for a while only makes it late. */
async function tickWall({ folder, topology }: PipelineOptions, signal: AbortSignal): Promise<void> {
  const clock = await ClockSource.open(folder.log, topology.partitions, INSTANCE)
  try {
    while (!signal.aborted) {
      await clock.tick('wall', new Date().toISOString()).catch((error: unknown) => {
        if (!PASSING.some((kind) => error instanceof kind)) throw error
      })
      await sleep(WALL_TICK_MS, signal)
    }
  } finally {
    await clock.close()
  }
}

/** A tick that was said twice, or not at all, is one of many. */
const PASSING = [LogFullError, LogBusyError, LogUnreachableError, CommitOutcomeUnknownError, FencedError]
