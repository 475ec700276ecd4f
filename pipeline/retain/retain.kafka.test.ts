import { expect, inject, test } from 'vitest'
import { kafkaHarness } from '../../infra/log/kafka/test-harness.ts'
import { keepNeededTopics } from '../../sinks/feed/kept-topics.ts'
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

test('a feed has the broker keep the topics that consumers need, and reports it once', async () => {
  const harness = await kafkaHarness(inject('kafka'))
  const log = await FeedLog.create(await harness.open())
  try {
    const reported: string[] = []
    await keepNeededTopics(log.log, (message) => void reported.push(message))
    await keepNeededTopics(log.log, (message) => void reported.push(message))
    // Derived events are made with the limits of the broker, the others for ever.
    expect(reported).toEqual([
      expect.stringMatching(/keep their records .*: rollout\.group_formed \(it had .*retention\.ms=\d+, [^;]*\)$/),
    ])
  } finally {
    await log.close()
    await harness.close()
  }
})
