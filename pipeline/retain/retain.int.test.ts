import { test } from 'vitest'
import { openLmdbLog } from '../../infra/log/lmdb/lmdb-log.ts'
import { FeedLog } from '../../testing/feed-log.ts'
import { expectRetention } from '../../testing/feed-retention.ts'
import { temporaryFolder } from '../../testing/temporary-folder.ts'

test('on the embedded log, retention never passes what a live consumer or a resume needs, and its blobs', async () => {
  const dir = await temporaryFolder()
  const log = await FeedLog.create(await openLmdbLog({ dir: `${dir}/log`, durability: 'survives_kill_only' }))
  try {
    await expectRetention(log, dir)
  } finally {
    await log.close()
  }
})
