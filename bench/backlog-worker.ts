/** The worker of `backlog.ts`: reads the whole log in a folder, then ends. */

import { join } from 'node:path'
import { directoryBlobs } from '../infra/blobs/directory.ts'
import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import { paperScorer } from '../processors/score-completions/paper-scorer.ts'
import { scoreCompletions } from '../processors/score-completions/score-completions.ts'
import { workThrough } from './tower-log.ts'

export const backlogProcessor = async () => scoreCompletions(await paperScorer())

if (import.meta.main) {
  const dir = process.argv[2] ?? ''
  const log = await openLmdbLog({ dir })
  const stop = await workThrough(log, await backlogProcessor(), directoryBlobs(join(dir, 'blobs')))
  await stop()
  await log.close()
}
