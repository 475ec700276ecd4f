import type { Blobs } from '../../infra/blobs/blobs.ts'
import type { LogHarness } from '../../infra/log/conformance/harness.ts'
import type { Log, Position } from '../../infra/log/port/log.ts'
import { catalogue } from '../../streams/vocabulary.ts'
import type { Sink } from '../sink.ts'
import type { SinkOpening } from '../sink-kind.ts'

/** How the suite opens a sink. */
export type Opening = Pick<SinkOpening, 'log' | 'blobs' | 'report' | 'observe'>

/** With commits of a few records, so that loading takes several. */
export const smallCommits = (opening: Opening): SinkOpening => ({
  ...opening,
  catalogue,
  batch_bytes: 2_000,
  poll_ms: 10,
})

/** What a driver provides so that the suite can test it: `driver` in its folder's `conformance-driver.ts`. */
export interface SinkDriver {
  /** Of the folder, too. */
  readonly name: string
  /** The stages of a commit, in order. Only at the last one is it committed. */
  readonly stages: readonly string[]
  /** How an event that the log holds twice is stored: once, or as both copies. */
  readonly repeated_event: 'once' | 'twice'
  /** Opens the sink that writes below `folder`, with `smallCommits`. */
  open(folder: string, opening: Opening): Promise<Sink>
  /** What the closed sink of this folder has stored, as another program finds it. */
  contents(folder: string): Promise<Contents>
}

export interface Contents {
  /** The place of every stored record, in the order of the driver's files. */
  readonly records: readonly string[]
  /** The place of every record that is listed as unreadable. */
  readonly unreadable: readonly string[]
  readonly positions: readonly Position[]
}

/** What a case gets. */
export interface Scene {
  readonly driver: SinkDriver
  readonly logs: LogHarness
  readonly log: Log
  readonly blobs: Blobs
  /** Empty, and the case's own. */
  readonly folder: string
  /** A folder of the log that another process can open; undefined for a log in memory. */
  readonly log_dir: string | undefined
}

export interface SinkCase {
  /** The promise that the case tests. */
  readonly name: string
  /** Another process loads the log, which therefore cannot be in memory. */
  readonly in_other_process?: true
  run(scene: Scene): Promise<void>
}

export const recordAt = (topic: string, partition: number, offset: bigint | number) => `${topic}/${partition}@${offset}`
