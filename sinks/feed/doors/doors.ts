import type { ServedBlobs } from '../../../infra/blobs/served.ts'
import type { DataOf } from '../../../schemas/declare/event.ts'
import type { modelPublished } from '../../../schemas/events/model.ts'
import type { SqlResult } from '../../duckdb/sql-result.ts'
import type { EventDoorOptions } from './event-door.ts'

/** What the feed serves besides groups. Whoever composes it hands it in: sinks import no sources. */
export interface Doors {
  readonly blobs: ServedBlobs
  readonly events: EventDoorOptions
  readonly models: ModelDoor
  readonly sql: SqlDoor
}

export type ModelToPublish = Omit<DataOf<typeof modelPublished>, 'model_id'>

/** Why a model is not published. */
export interface NotPublished {
  readonly refused: 'blobs_missing' | 'not_sound' | 'version_taken' | 'invalid'
  readonly message: string
  readonly blobs?: readonly string[]
  readonly problems?: readonly string[]
}

export type PublishAnswer =
  | { readonly published: 'now' | 'before'; readonly model_id: string; readonly event_id: string }
  | NotPublished

/** Publishes models: the source `models`. */
export interface ModelDoor {
  /** Checks the files. @returns undefined when the model can be published */
  prepare(model: ModelToPublish): Promise<NotPublished | undefined>
  /** @param by the name of the token */
  publish(model: ModelToPublish, by: string): Promise<PublishAnswer>
}

/** Asks the tables, as `plumbline sql` does. */
export interface SqlDoor {
  /**
   * @param time_limit_ms after which the statement is interrupted
   * @throws SqlRefusedError, SqlFailedError, SqlTimeoutError; an error of the database when nothing can answer
   */
  ask(sql: string, time_limit_ms: number): Promise<{ readonly result: SqlResult; close(): Promise<void> }>
}
