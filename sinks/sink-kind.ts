import type { Blobs } from '../infra/blobs/blobs.ts'
import type { Log, Position } from '../infra/log/port/log.ts'
import type { EventType } from '../schemas/declare/event.ts'
import type { PlacedSink } from './sink.ts'
import type { UnreadableRecord } from './unreadable-record.ts'

/**
 * A kind of sink that a run starts when its place is named: `run --NAME PLACE`. `lag`, `positions` and `dlq` then know
 * it too. Import the driver in the functions: every command loads the list of kinds.
 */
export interface SinkKind {
  /** One word: its option, and its name in `topology`, `run --only` and metrics. */
  readonly name: string
  readonly place: 'folder' | 'file'
  /** What it does there, in the imperative, for the help. */
  readonly about: string
  /** Opens the place as its one writer; makes it if it does not exist. */
  open(place: string, opening: SinkOpening): Promise<PlacedSink>
  /** How far the sink of this place has read; undefined when none has written there. */
  positions(place: string): Promise<readonly Position[] | undefined>
  /** The records that the sink of this place lists as unreadable; none when it has never written there. */
  unreadable(place: string): Promise<readonly UnreadableRecord[]>
}

/** What every driver gets. */
export interface SinkOpening {
  readonly log: Log
  /** Of large columns. */
  readonly blobs: Blobs
  readonly catalogue: readonly EventType[]
  /** Bound of one commit: encoded bytes, as in the log. */
  readonly batch_bytes?: number
  /** How long `run` waits before it looks for new records. */
  readonly poll_ms?: number
  /** Called with messages for a person. */
  readonly report?: (message: string) => void
  /** Called at each stage of a commit; for tests that kill the process there. */
  readonly observe?: (stage: string) => unknown
}
