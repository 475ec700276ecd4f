import { hostname } from 'node:os'
import { retryOf } from '../infra/retry.ts'
import { claimTopology, partitionsIn, topicsOf } from '../infra/runtime/state/topics.ts'
import { lagOf } from '../infra/runtime/watch/lag.ts'
import { ClockSource } from '../infra/runtime/work/clock-source.ts'
import { effectWorker, type Outside } from '../infra/runtime/work/effect-worker.ts'
import { type CommitStage, latest, type Tuning, Worker, type WorkerEvent } from '../infra/runtime/work/worker.ts'
import { sleep } from '../infra/sleep.ts'
import { inputTopics, type Processor } from '../processors/processor.ts'
import type { ClockDomain } from '../schemas/declare/event.ts'
import { catalogueOf } from '../schemas/declare/registry.ts'
import { partitionsText } from '../schemas/wire/partitions.ts'
import type { Sink } from '../sinks/sink.ts'
import { fingerprintOf, identityOf, processorsOf } from '../streams/describe.ts'
import type { TopologyOptions } from '../streams/domain.ts'
import { DEFAULTS, type Topology, topology } from '../streams/topology.ts'
import type { DataFolder } from './data-folder.ts'
import type { GlobalOptions } from './options.ts'
import { outsideOf } from './outside.ts'
import { UsageError } from './usage-error.ts'

export interface PipelineOptions {
  readonly folder: DataFolder
  readonly topology: Topology
  /** Opened; the caller closes them. */
  readonly sinks: readonly Sink[]
  /** Names of the processors to run, and of sinks; all processors when empty. */
  readonly only: readonly string[]
  readonly until_idle: boolean
  readonly expire_pending: boolean
  readonly signal: AbortSignal
  readonly onWorkerEvent: (processor: string, event: WorkerEvent) => void
  readonly onLag?: (lag: ReadonlyMap<string, bigint>) => void
  /** HTTP client and limits of policies over HTTP; when left out, a client with the environment's API key. */
  readonly outside?: Outside
  readonly tuning?: Partial<Tuning>
  /** Called at each stage of a worker's commit, so that tests can kill the process there. */
  readonly observe?: (processor: string, stage: CommitStage) => void
}

/** Distinguishes this process from all others on the log. */
const INSTANCE = `${hostname()}/${process.pid}`
const WALL_TICK_MS = 1_000
const CHECK_MS = 50

/** Builds the topology of these options. @throws UsageError when they do not give one. */
export async function wiringOf(options: Partial<TopologyOptions>): Promise<Topology> {
  try {
    return await topology({ ...DEFAULTS, ...options })
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(error.message, 'see ./plumbline help run')
    throw error
  }
}

/**
 * The same for a log, whose existing topics fix the partition counts.
 * @throws UsageError when `--partitions` differs from them.
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

/** Creates the topics that a topology needs, and rejects a log whose state this topology cannot resume. */
export async function prepareLog(folder: DataFolder, topology: Topology): Promise<void> {
  if (folder.read_only) return
  await folder.log.createTopics(topicsOf(topology.events, processorsOf(topology), topology.partitions))
  await claimTopology(folder.log, { ...identityOf(topology), fingerprint: fingerprintOf(topology) })
}

/** Runs workers and sinks until the signal or, with `until_idle`, until no work is left. */
export async function runPipeline(options: PipelineOptions): Promise<void> {
  const { folder, topology, sinks, signal } = options
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
  const running = [...workers, ...sinks].map((part) => part.run(stop.signal))
  const failed = Promise.all(running).then(() => undefined)
  const clock = options.until_idle
    ? untilIdle(options, processors, workers, stop.signal)
    : whileRunning(options, processors, stop.signal)
  try {
    await Promise.race([failed, clock])
  } finally {
    stop.abort()
    // Wait for the clock too: the caller closes the log next, and a pending tick still needs it.
    await Promise.allSettled([...running, clock])
  }
  await failed
  if (options.until_idle) await loadAll(sinks, signal)
}

/** Lets every sink catch up, whether or not another one fails. After a stop, the log retains the rest. */
async function loadAll(sinks: readonly Sink[], signal: AbortSignal): Promise<void> {
  const loading = sinks.map(async (sink) => {
    while (!signal.aborted && !(await sink.loadOnce(signal)).caught_up);
  })
  await Promise.allSettled(loading)
  await Promise.all(loading)
}

/** Only processors have timers: where no processor runs, no tick is appended. */
async function whileRunning(options: PipelineOptions, processors: readonly Processor[], signal: AbortSignal) {
  if (processors.length > 0) return await tickWall(options, signal)
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

async function untilIdle(
  { folder, topology, expire_pending, onLag }: PipelineOptions,
  processors: readonly Processor[],
  workers: readonly Worker[],
  signal: AbortSignal,
): Promise<void> {
  if (processors.length === 0) return
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

  /** Does nothing after a stop: a tick could expire requests whose answers were not waited for. */
  async function tick(timeOf: (worker: Worker, domain: ClockDomain) => string | undefined): Promise<void> {
    for (const domain of ['virtual', 'wall'] as const) {
      const time = latest(workers.map((worker) => timeOf(worker, domain)))
      if (time !== undefined && !signal.aborted) await clock.tick(domain, domain === 'wall' ? notAhead(time) : time)
    }
  }

  /** Resolves when two checks in a row find no lag in any group and every worker idle. */
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

/** Caps a wall tick at the host's time: a wrong time in one event would else make all later ticks count as old. */
function notAhead(time: string): string {
  const now = new Date().toISOString()
  return time < now ? time : now
}

/** Appends wall-clock ticks while the pipeline runs. A full, busy or unreachable log only delays them. */
async function tickWall({ folder, topology }: PipelineOptions, signal: AbortSignal): Promise<void> {
  const clock = await ClockSource.open(folder.log, topology.partitions, INSTANCE)
  try {
    while (!signal.aborted) {
      await clock.tick('wall', new Date().toISOString()).catch((error: unknown) => {
        // A duplicate or missing tick does no harm: the next one follows soon.
        if (retryOf(error) !== 'later') throw error
      })
      await sleep(WALL_TICK_MS, signal)
    }
  } finally {
    await clock.close()
  }
}
