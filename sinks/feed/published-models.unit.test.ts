import { afterEach, beforeEach, expect, test } from 'vitest'
import { modelPublished } from '../../schemas/events/model.ts'
import { changed, FeedLog } from '../../testing/feed-log.ts'
import { PublishedModels } from './published-models.ts'

let log: FeedLog
beforeEach(async () => {
  log = await FeedLog.create()
})
afterEach(() => log.close())

test('calls that come together share a look, and each finds what the log had before it', async () => {
  let looks = 0
  const gates: (() => void)[] = []
  const endOffsets = async (topic: string) => {
    if (topic === modelPublished.type) looks++
    await new Promise<void>((open) => gates.push(open))
    return await log.log.endOffsets(topic)
  }
  const models = new PublishedModels({ ...log.reading, log: changed(log.log, { endOffsets }) })
  const open = async () => {
    while (gates.length === 0) await new Promise((turn) => setImmediate(turn))
    gates.shift()?.()
  }
  const first = models.now()
  while (gates.length === 0) await new Promise((turn) => setImmediate(turn))
  await log.publish('lab/r1', 1)
  // The look that is under way may have begun before.
  const later = [models.now(), models.now(), models.now()]
  await open()
  await first
  await open()
  for (const published of await Promise.all(later)) expect(published.get('lab/r1')).toBe(1)
  expect(looks).toBe(2)
})

test('a look that fails fails its own calls alone', async () => {
  let fails = true
  const endOffsets = async (topic: string) => {
    if (fails) throw new Error('away')
    return await log.log.endOffsets(topic)
  }
  const models = new PublishedModels({ ...log.reading, log: changed(log.log, { endOffsets }) })
  await expect(models.now()).rejects.toThrow('away')
  fails = false
  await log.publish('lab/r1', 3)
  expect((await models.now()).get('lab/r1')).toBe(3)
})
