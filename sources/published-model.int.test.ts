import { afterEach, beforeEach, expect, test } from 'vitest'
import { memoryLog } from '../infra/log/memory/memory-log.ts'
import { headerOf } from '../infra/runtime/internal/json-records.ts'
import { modelPublished, NO_MANIFEST } from '../schemas/events/model.ts'
import { rolloutRequested } from '../schemas/events/rollout.ts'
import { FeedLog } from '../testing/feed-log.ts'
import { requested } from '../testing/tower-events.ts'
import { HandedEvents } from './handed-events.ts'
import { ModelPublisher, type ModelToPublish } from './published-model.ts'

let log: FeedLog
beforeEach(async () => {
  log = await FeedLog.create()
})
afterEach(() => log.close())

/** A process of its own, as far as the log can tell. */
const process = () => {
  const { blobs, partitions } = log.reading
  return { log: memoryLog({ broker: log.broker }), blobs, partitions }
}

async function model(lineage: string, loss: number): Promise<ModelToPublish> {
  const blob = await log.blobs.put(Buffer.from('weights'), 'application/onnx')
  const rest = { parent: null, trained_on: [], trained_at: null, ...NO_MANIFEST }
  return { role: 'policy', version: 1, lineage, files: [{ name: 'model.onnx', blob }], metrics: { loss }, ...rest }
}

test('of processes that publish one version at the same moment, one does, and the others are told', async () => {
  const publishers = Array.from({ length: 4 }, () => new ModelPublisher(process()))
  const answers = await Promise.all(
    publishers.map(async (one, loss) => one.publish(await model('sweep', loss), 'test')),
  )
  expect(answers.filter((answer) => 'published' in answer)).toHaveLength(1)
  expect(answers.filter((answer) => 'refused' in answer && answer.refused === 'version_taken')).toHaveLength(3)
  expect(await log.records(modelPublished.type)).toHaveLength(3) // one in each partition
})

test('the same model, published by another process, is answered the same and is in the log once', async () => {
  const first = await new ModelPublisher(process()).publish(await model('sweep', 1), 'gpu-1')
  const again = await new ModelPublisher(process()).publish(await model('sweep', 1), 'gpu-2')
  expect([first, again]).toMatchObject([{ published: 'now' }, { ...first, published: 'before' }])
  const other = await new ModelPublisher(process()).publish(await model('other', 1), 'gpu-2')
  expect(other).toMatchObject({ published: 'now', model_id: 'other@1' })
  const ids = (await log.records(modelPublished.type)).map((record) => headerOf(record, 'ce_id'))
  expect([ids.length, new Set(ids).size]).toEqual([6, 2])
})

test('events are taken again after the run of their source has ended with an error', async () => {
  const options = { types: [rolloutRequested], instance: 'one', report: () => {} }
  const [handed, rival] = [
    new HandedEvents({ ...process(), ...options }),
    new HandedEvents({ ...process(), ...options }),
  ]
  const hand = (to: HandedEvents, id: string) =>
    to.hand({ type: rolloutRequested, event: requested({ group_id: id }, id) })
  await hand(handed, 'g1')
  await hand(rival, 'g2')
  // The first one finds out, and fences the rival when it is asked again.
  await expect(hand(handed, 'g3')).rejects.toThrow(/not confirmed/)
  await hand(handed, 'g3')
  expect((await log.records(rolloutRequested.type)).map(({ key }) => key).sort()).toEqual(['g1', 'g2', 'g3'])
  await Promise.all([handed.close(), rival.close()])
})
