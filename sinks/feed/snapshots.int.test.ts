import { expect, test } from 'vitest'
import { openLmdbLog } from '../../infra/log/lmdb/lmdb-log.ts'
import { FeedLog } from '../../testing/feed-log.ts'
import { expectSnapshots } from '../../testing/feed-snapshots.ts'
import { temporaryFolder } from '../../testing/temporary-folder.ts'

test('on the embedded log, a consumer is opened from its snapshot and the events after it, as from all events', async () => {
  const dir = await temporaryFolder()
  const log = await FeedLog.create(await openLmdbLog({ dir, durability: 'survives_kill_only' }))
  try {
    await expectSnapshots(log)
    expect(log.reported).toEqual([])
  } finally {
    await log.close()
  }
})
