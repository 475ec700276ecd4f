import { directoryBlobs } from '../infra/blobs/directory.ts'
import { servedDirectory } from '../infra/blobs/served.ts'
import { SqlFailedError } from '../sinks/duckdb/sql-errors.ts'
import type { Doors, SqlDoor } from '../sinks/feed/doors/doors.ts'
import { publishable } from '../sinks/feed/doors/publishable.ts'
import { HandedEvents } from '../sources/handed-events.ts'
import { type ModelCheck, ModelPublisher } from '../sources/published-model.ts'
import { FEED_EVENTS, type FeedLog } from './feed-log.ts'
import { temporaryFolder } from './temporary-folder.ts'

/** There are no tables in memory. */
const NO_TABLES: SqlDoor = {
  ask: async () => {
    throw new SqlFailedError('there are no tables here')
  },
}

/** The doors of a feed on a log in memory, with blobs in a folder. */
export async function doorsOf(
  log: FeedLog,
  { sql = NO_TABLES, check }: { readonly sql?: SqlDoor; readonly check?: ModelCheck } = {},
): Promise<{ readonly doors: Doors; close(): Promise<void> }> {
  const { vocabulary, partitions } = log.reading
  const root = await temporaryFolder()
  const blobs = directoryBlobs(root)
  const shared = { log: log.log, blobs, partitions }
  const handed = new HandedEvents({
    ...{ ...shared, instance: 'test', types: publishable(FEED_EVENTS) },
    report: (message) => void log.reported.push(message),
  })
  const doors: Doors = {
    blobs: servedDirectory(root),
    events: { vocabulary, blobs, hand: (emitted, signal) => handed.hand(emitted, signal) },
    models: new ModelPublisher({ ...shared, ...(check && { check }) }),
    sql,
  }
  return { doors, close: () => handed.close() }
}
