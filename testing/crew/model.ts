import type { Blobs } from '../../infra/blobs/blobs.ts'
import type { Log } from '../../infra/log/port/log.ts'
import { topicsOf } from '../../infra/runtime/state/topics.ts'
import { Worker, type WorkerOptions } from '../../infra/runtime/work/worker.ts'
import { verifyStage } from '../../infra/verify/verify-stage.ts'
import { inputTopics } from '../../processors/processor.ts'
import { catalogueOf } from '../../schemas/declare/registry.ts'
import { stage } from '../../streams/domain.ts'
import { catalogue } from '../../streams/vocabulary.ts'
import { ESTIMATING, estimated } from '../batched-model.ts'
import { TUNING, wiring } from './data.ts'

const vocabulary = catalogueOf([...catalogue, estimated])
const PATIENCE_MS = 180_000
/** Long enough for several polls, so that a commit has batches that do not follow from what it read. */
const COMMIT_MS = 1_000

type Where = Pick<WorkerOptions, 'log' | 'blobs'>

/** Creates the topics of a model that no topology has: the program leaves them alone. */
export async function prepareModel(log: Log): Promise<void> {
  await log.createTopics(topicsOf([estimated], [ESTIMATING], (await wiring()).partitions))
}

/** A worker of the model, whose outputs depend on their batch. */
export async function modelWorker(options: Where & Partial<WorkerOptions>): Promise<Worker> {
  const { partitions } = await wiring()
  return new Worker({
    instance: `model/${process.pid}`,
    tuning: { ...TUNING, commit_interval_ms: COMMIT_MS, idle_commit_interval_ms: COMMIT_MS },
    ...options,
    processor: ESTIMATING,
    vocabulary,
    partitions,
  })
}

/** Lets the model read to the end, and computes its outputs again from its journal. @returns breaches */
export async function otherBatches(
  { log, blobs }: { readonly log: Log; readonly blobs: Blobs },
  counts: Record<string, number>,
): Promise<string[]> {
  const stop = new AbortController()
  const running = (await modelWorker({ log, blobs })).run(stop.signal)
  try {
    const deadline_ms = performance.now() + PATIENCE_MS
    while (!(await hasReadAll(log))) {
      if (performance.now() > deadline_ms)
        return [`${ESTIMATING.name} has not read everything in ${PATIENCE_MS / 1_000} s`]
      await Promise.race([running, new Promise((resolve) => setTimeout(resolve, 100))])
    }
  } finally {
    stop.abort()
    await running
  }
  const { partitions } = await wiring()
  const report = await verifyStage(
    stage(ESTIMATING, () => ESTIMATING),
    { log, blobs, vocabulary, partitions },
  ).catch((error: Error) => error)
  // A journal that cannot be followed; the checks that follow show other faults.
  if (report instanceof Error) return [`batches: ${report.message}`]
  counts['outputs of a model, computed again in their batches'] = report.rebuilt
  if (report.first === undefined) return []
  const { kind, where, message } = report.first
  return [`batches: ${ESTIMATING.name}: ${report.differences} differences, the first ${kind} at ${where}: ${message}`]
}

async function hasReadAll(log: Log): Promise<boolean> {
  const committed = new Map(
    (await log.committed(ESTIMATING.name)).map(({ topic, partition, next }) => [`${topic}/${partition}`, next]),
  )
  for (const topic of inputTopics(ESTIMATING)) {
    for (const [partition, end] of (await log.endOffsets(topic)).entries()) {
      if ((committed.get(`${topic}/${partition}`) ?? 0n) < end) return false
    }
  }
  return true
}
