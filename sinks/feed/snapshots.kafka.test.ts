import { inject, test } from 'vitest'
import { kafkaHarness } from '../../infra/log/kafka/test-harness.ts'
import { FeedLog } from '../../testing/feed-log.ts'
import { expectSnapshots } from '../../testing/feed-snapshots.ts'

test('on Kafka, a consumer is opened from its snapshot and the events after it, as from all events', async () => {
  const harness = await kafkaHarness(inject('kafka'))
  const log = await FeedLog.create(await harness.open())
  try {
    await expectSnapshots(log)
  } finally {
    await log.close()
    await harness.close()
  }
})
