import { inject, test } from 'vitest'
import { expectTakeover } from '../../../testing/takeover-of-a-slow-transform.ts'
import { kafkaHarness } from '../../log/kafka/test-harness.ts'

test('on Kafka, a slow transform is aborted once its partition goes to another worker', async () => {
  const harness = await kafkaHarness(inject('kafka'))
  try {
    await expectTakeover(harness)
  } finally {
    await harness.close()
  }
})
