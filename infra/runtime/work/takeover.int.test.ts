import { test } from 'vitest'
import { expectTakeover } from '../../../testing/takeover-of-a-slow-transform.ts'
import { lmdbHarness } from '../../log/lmdb/test-harness.ts'

test('on the embedded log, a slow transform is aborted by a heartbeat once its partition goes to another worker', async () => {
  const harness = await lmdbHarness()
  try {
    await expectTakeover(harness)
  } finally {
    await harness.close()
  }
})
