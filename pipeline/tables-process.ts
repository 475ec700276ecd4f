/** The process that owns a data folder's tables, apart from the workers: loads the log into DuckDB and answers SQL. */
import { catalogue } from '../schemas/events/catalogue.ts'
import { ownTables } from '../sinks/duckdb/process/owner.ts'
import { blobsOf } from './blob-stores.ts'
import { openLogForReading } from './data-folder.ts'

ownTables({
  catalogue,
  open: async (place) => ({ log: await openLogForReading(place), blobs: blobsOf(place) }),
})
