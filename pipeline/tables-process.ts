/** The process that owns a data folder's tables, separate from the workers: it loads the log and answers SQL. */

import { ownTables } from '../sinks/duckdb/process/owner.ts'
import { catalogue, views } from '../streams/vocabulary.ts'
import { blobsOf } from './blob-stores.ts'
import { openLogForReading } from './data-folder.ts'

ownTables({
  catalogue,
  views,
  open: async (place) => ({ log: await openLogForReading(place), blobs: blobsOf(place) }),
})
