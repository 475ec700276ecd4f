/** The worker of `backlog.ts`: reads the whole of the log in a folder, and ends. */

import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import { paperScorer } from '../processors/score-completions/paper-scorer.ts'
import { scoreCompletions } from '../processors/score-completions/score-completions.ts'
import { workThrough } from './tower-log.ts'

export const backlogProcessor = async () => scoreCompletions(await paperScorer())

if (import.meta.main) {
  const log = await openLmdbLog({ dir: process.argv[2] ?? '' })
  const stop = await workThrough(log, await backlogProcessor())
  await stop()
  await log.close()
}
