import { hostname } from 'node:os'
import { lagOf } from '../infra/runtime/watch/lag.ts'
import { effectWorker, type Outside } from '../infra/runtime/work/effect-worker.ts'
import { type CommitStage, latest, type Tuning, Worker, type WorkerEvent } from '../infra/runtime/work/worker.ts'
import { sleep } from '../infra/sleep.ts'
import { inputTopics, type Processor } from '../processors/processor.ts'
import type { ClockDomain } from '../schemas/declare/event.ts'
import { catalogueOf } from '../schemas/declare/registry.ts'
import type { Sink } from '../sinks/sink.ts'
import { Clock, wallClock } from '../sources/clock.ts'
import { perSecond } from '../sources/pace.ts'
import { runSource } from '../sources/run-source.ts'
import { processorsOf } from '../streams/describe.ts'
import type { Topology } from '../streams/topology.ts'
import type { DataFolder } from './data-folder.ts'
import { outsideOf } from './outside.ts'
import { prepareLog } from './wiring.ts'

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
const WALL_TICKS_PER_SECOND = 1
const CHECK_MS = 50

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
  const { log, blobs } = folder
  const clock = Clock.open({ log, blobs, partitions: topology.partitions }, INSTANCE)
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
      let behind = false
      for (const [at, processor] of processors.entries()) {
        const lacking = workers[at]?.lacking
        if (lacking === undefined || lacking.size === 0) behind ||= (lags.get(processor.name) ?? 0n) > 0n
        else
          behind ||= (await lagOf(folder.log, processor.name, inputTopics(processor), isRead(processor, lacking))) > 0n
      }
      quiet = !behind && workers.every((worker) => worker.idle) ? quiet + 1 : 0
      if (quiet < 2) await sleep(CHECK_MS, signal)
    }
  }
}

/** Whether a processor reads these records now: its own inputs wait where it lacks something. */
function isRead({ inputs }: Processor, lacking: ReadonlySet<number>) {
  return (topic: string, partition: number) => !lacking.has(partition) || !inputs.some(({ type }) => type === topic)
}

/** Caps a wall tick at the host's time: a wrong time in one event would else make all later ticks count as old. */
function notAhead(time: string): string {
  const now = new Date().toISOString()
  return time < now ? time : now
}

/** Appends wall-clock ticks while the pipeline runs. */
async function tickWall({ folder, topology }: PipelineOptions, signal: AbortSignal): Promise<void> {
  const { log, blobs } = folder
  const pace = perSecond(WALL_TICKS_PER_SECOND)
  // A full, busy or unreachable log only delays the ticks; the workers report it.
  const report = () => {}
  await runSource(wallClock(INSTANCE), { log, blobs, partitions: topology.partitions, signal, pace, report })
}
