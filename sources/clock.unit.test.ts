import { expect, test } from 'vitest'
import { memoryBlobs } from '../infra/blobs/memory.ts'
import { memoryLog } from '../infra/log/memory/memory-log.ts'
import { clockTicked } from '../schemas/events/clock.ts'
import { recordsOf } from '../testing/counting.ts'
import { Clock } from './clock.ts'

test('a clock whose producer the log has expired continues to tick under the same id', async () => {
  const log = memoryLog()
  await log.createTopics([{ name: clockTicked.type, partitions: 2 }])
  const clock = Clock.open({ log, blobs: memoryBlobs(), partitions: 2 }, 'host/1')
  await clock.tick('wall', '2026-01-01T00:00:00.000Z')
  // Bumps the producer epoch, as a broker does when it aborts a transaction that timed out.
  await log.producer({ transactional_id: 'source/clock/host/1' })
  await clock.tick('wall', '2026-01-01T00:00:01.000Z')
  await clock.tick('wall', '2026-01-01T00:00:02.000Z')
  const keys = (await recordsOf(log, clockTicked.type)).map(({ partition, key }) => `${partition} ${key}`)
  expect(keys).toEqual(
    [0, 1].flatMap((partition) => [0, 1, 2].map((second) => `${partition} wall/2026-01-01T00:00:0${second}.000Z`)),
  )
  await clock.close()
  await log.close()
})
