import type { Blobs } from '../../infra/blobs/blobs.ts'
import type { LogHarness } from '../../infra/log/conformance/harness.ts'
import type { Log } from '../../infra/log/port/log.ts'
import type { PushSource } from '../push-source.ts'
import type { Source } from '../source.ts'

/** What a source provides so that the suite can test it. */
export interface SourceDriver {
  /** Its name in the topology, or what distinguishes it. */
  readonly name: string
  readonly kind: Source['kind']
  /** Opens the same work, with at least `STEPS` steps. `folder` is the same in every process, and made already. */
  open(place: Place): Promise<Source>
  /** For a source that is handed events: hands in the suite's events, and resolves to the outcome of each. */
  readonly door?: DoorDriver
}

export interface DoorDriver {
  /** The next of the events that the suite hands in, each under its own id. */
  hand(source: PushSource, at: number): Promise<void>
  /** The `ce_id` of that event. */
  idOf(at: number): string
  /** Another event under the id of that one. */
  handAnother(source: PushSource, at: number): Promise<void>
  /** The bound that its sources are opened with, and the most that one of its events takes. */
  readonly max_bytes: number
  readonly event_bytes: number
}

export interface Place {
  readonly blobs: Blobs
  readonly folder: string
}

/** What a case gets. */
export interface Scene extends Place {
  readonly driver: SourceDriver
  readonly logs: LogHarness
  readonly log: Log
  /** A folder of the log that another process can open; undefined for a log in memory. */
  readonly log_dir: string | undefined
}

export interface SourceCase {
  /** The promise that the case tests. */
  readonly name: string
  /** Another process appends to the log, which therefore cannot be in memory. */
  readonly in_other_process?: true
  /** Whether the source makes this promise; default: every source does. */
  applies?(driver: SourceDriver): boolean
  run(scene: Scene): Promise<void>
}

/** How many steps the suite takes of each source. */
export const STEPS = 8
export const PARTITIONS = 3
