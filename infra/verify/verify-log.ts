import type { Stage } from '../../processors/processor.ts'
import type { Integrity } from '../log/port/log.ts'
import type { VerifyReport } from './comparison.ts'
import { type BlobsReport, NamedBlobs } from './named-blobs.ts'
import type { Producers } from './producers.ts'
import { type RecordsReport, verifyRecords } from './verify-records.ts'
import { type StageReport, StageVerification, type VerifyOptions } from './verify-stage.ts'
import { type SweepToVerify, SweepVerification } from './verify-sweep.ts'

export interface LogToVerify {
  readonly stages: readonly Stage[]
  /** Finished or partial sweeps over the log, recomputed too. */
  readonly sweeps: readonly SweepToVerify[]
  readonly producers: Producers
  readonly is_shared: boolean
  readonly read_blobs: boolean
}

export interface LogReport {
  readonly records: RecordsReport
  readonly stages: readonly (StageReport | VerifyReport)[]
  readonly blobs: BlobsReport
  /** Undefined where the log itself guarantees its bytes, as a Kafka broker does. */
  readonly integrity: Integrity | undefined
}

/** Receives the progress and the reports of the parts of a verification. */
export interface LogWatch {
  begin(part: string): { at(done: number): void }
  records(report: RecordsReport): void
  stage(report: StageReport | VerifyReport): void
  blobs(report: BlobsReport): void
  chunks(report: Integrity): void
}

/**
 * Reads a whole log once and recomputes what is derived. Differences do not stop it.
 *
 * @throws an error that a retry may fix (log or blob store unreachable), or TopicReplacedError.
 */
export async function verifyLog(
  { stages, sweeps, producers, is_shared, read_blobs }: LogToVerify,
  options: VerifyOptions,
  watch: LogWatch,
): Promise<LogReport> {
  watch.begin('chunks')
  const integrity = await options.log.integrity?.()
  if (integrity !== undefined) watch.chunks(integrity)
  const named = new NamedBlobs(options.blobs, { read: read_blobs })
  const all = { ...options, named, lost: integrity?.lost ?? [] }
  const verifications: (StageVerification | SweepVerification)[] = []
  for (const stage of stages) verifications.push(await StageVerification.begin(stage, all))
  for (const sweep of sweeps) verifications.push(await SweepVerification.begin(sweep, all))
  const comparisons = verifications.map(({ comparison }) => comparison)
  const reading = watch.begin('records')
  const onProgress = (records: number) => reading.at(records)
  const records = await verifyRecords({ ...all, producers, is_shared, comparisons, onProgress })
  watch.records(records)
  const reports: (StageReport | VerifyReport)[] = []
  for (const verification of verifications) {
    const progress = watch.begin(verification.name)
    const report = await verification.finish((rebuilt) => progress.at(rebuilt))
    watch.stage(report)
    reports.push(report)
  }
  watch.begin('blobs')
  const blobs = await named.report()
  watch.blobs(blobs)
  return { records, stages: reports, blobs, integrity }
}
