import { FencedError } from '../infra/log/log.ts'
import { appendTick } from '../infra/runtime/clock-source.ts'
import { inputTopics } from '../infra/runtime/execution.ts'
import { lagOf } from '../infra/runtime/lag.ts'
import { claimTopology, topicsOf } from '../infra/runtime/topics.ts'
import { type CommitStage, latest, type Tuning, Worker, type WorkerEvent } from '../infra/runtime/worker.ts'
import type { Processor } from '../processors/processor.ts'
import type { ClockDomain } from '../schemas/event.ts'
import { catalogueOf } from '../schemas/registry.ts'
import type { DuckDbSink } from '../sinks/duckdb/sink.ts'
import { fingerprintOf, identityOf, processorsOf } from '../streams/describe.ts'
import { DEFAULTS, type Topology, type TopologyOptions, topology } from '../streams/topology.ts'
import type { DataFolder } from './data-folder.ts'
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
  readonly tuning?: Partial<Tuning>
  /** Told where a worker's commit is; for tests that kill the process there. */
  readonly observe?: (processor: string, stage: CommitStage) => void
}

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
  const workers = processors.map(
    (processor) =>
      new Worker({
        log: folder.log,
        blobs: folder.blobs,
        processor,
        vocabulary: catalogueOf(topology.events),
        partitions: topology.partitions,
        instance: `${process.pid}`,
        onEvent: (event) => options.onWorkerEvent(processor.name, event),
        observe: (stage) => options.observe?.(processor.name, stage),
        tuning: options.tuning ?? {},
      }),
  )
  const running = [...workers.map((worker) => worker.run(stop.signal)), ...(sink ? [sink.run(stop.signal)] : [])]
  const failed = Promise.all(running).then(() => undefined)
  try {
    await Promise.race([
      failed,
      options.until_idle ? untilIdle(options, processors, workers, stop.signal) : tickWall(options, stop.signal),
    ])
  } finally {
    stop.abort()
    await Promise.allSettled(running)
  }
  await failed
  if (options.until_idle && sink !== undefined) while (!(await sink.loadOnce()).caught_up);
}

async function untilIdle(
  { folder, topology, expire_pending, onLag }: PipelineOptions,
  processors: readonly Processor[],
  workers: readonly Worker[],
  signal: AbortSignal,
): Promise<void> {
  await idle()
  for (const clock of ['virtual', 'wall'] as const) {
    const time = latest(workers.map((worker) => worker.unticked(clock)))
    if (time !== undefined) await tick(folder, topology, clock, time)
  }
  await idle()
  if (!expire_pending) return
  for (const clock of ['virtual', 'wall'] as const) {
    const time = latest(workers.map((worker) => worker.latestDeadline(clock)))
    if (time !== undefined) await tick(folder, topology, clock, time)
  }
  await idle()

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
      if (quiet < 2) await new Promise((resolve) => setTimeout(resolve, CHECK_MS))
    }
  }
}

/** Ticks, again where the clock of another `run` on this log came in between: both say the truth, in any order. */
async function tick({ log }: DataFolder, { partitions }: Topology, clock: ClockDomain, time: string): Promise<void> {
  for (;;) {
    try {
      return await appendTick(log, partitions, clock, time)
    } catch (error) {
      if (!(error instanceof FencedError)) throw error
    }
  }
}

/** The wall clock ticks while the pipeline runs on. */
async function tickWall({ folder, topology }: PipelineOptions, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await tick(folder, topology, 'wall', new Date().toISOString())
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, WALL_TICK_MS)
      signal.addEventListener(
        'abort',
        () => {
          clearTimeout(timer)
          resolve()
        },
        { once: true },
      )
    })
  }
}
