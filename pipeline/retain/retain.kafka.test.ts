import { inject, test } from 'vitest'
import { kafkaHarness } from '../../infra/log/kafka/test-harness.ts'
import { FeedLog } from '../../testing/feed-log.ts'
import { expectRetention } from '../../testing/feed-retention.ts'
import { temporaryFolder } from '../../testing/temporary-folder.ts'

test('on Kafka, retention never passes what a live consumer or a resume needs, and its blobs', async () => {
  const harness = await kafkaHarness(inject('kafka'))
  const log = await FeedLog.create(await harness.open())
  try {
    await expectRetention(log, await temporaryFolder())
  } finally {
    await log.close()
    await harness.close()
  }
})
