import { afterAll, expect, test } from 'vitest'
import { memoryLog } from '../../infra/log/memory/memory-log.ts'
import { ModelSessions } from '../../infra/models/model-sessions.ts'
import { SNAPSHOTS_TOPIC } from '../../infra/runtime/internal/internal-topics.ts'
import type { Event, EventType } from '../../schemas/declare/event.ts'
import { catalogueOf } from '../../schemas/declare/registry.ts'
import { modelPublished } from '../../schemas/events/model.ts'
import { rolloutRequested } from '../../schemas/events/rollout.ts'
import { startAt } from '../../schemas/events/tower.ts'
import { runSource } from '../../sources/run-source.ts'
import { inSteps } from '../../sources/source.ts'
import { catalogue } from '../../streams/vocabulary.ts'
import { recordsOf, runUntilRead } from '../../testing/counting.ts'
import { PNG, PolicyStage, server } from '../../testing/policy-stage.ts'
import { published } from '../../testing/published-model.ts'
import { tinyDecoder } from '../../testing/tiny-decoder.ts'
import { requested, SCENE } from '../../testing/tower-events.ts'
import { sampleModel } from './sample-model.ts'

const sessions = new ModelSessions()
afterAll(async () => await sessions.close())

test('a policy over HTTP that gives way to a model and comes back answers what it was asked, and nothing is answered twice', async () => {
  const stage = await PolicyStage.open(3)
  const log = memoryLog({ broker: stage.broker })
  const { blobs } = stage
  const append = async (type: EventType, events: readonly Event[]) => {
    const produce = async () => events.map((event) => ({ type, event }))
    const source = inSteps({ name: `test-${performance.now()}`, types: [type], steps: 1, produce })
    await runSource(source, { log, blobs, partitions: 2 })
  }
  const image = { ...SCENE.image, ...(await blobs.put(PNG, 'image/png')) }
  const ask = async (group_id: string) => {
    const asked = { group_id, group_size: 4, seed: group_id, ...startAt({ ...SCENE, image }) }
    await append(rolloutRequested, [requested(asked, group_id) as unknown as Event])
  }
  const answeredBy = async () => {
    const policies = Map.groupBy(await stage.rows(), ({ group_id }) => group_id)
    return Object.fromEntries([...policies].map(([group, rows]) => [group, `${rows.length} by ${rows[0]?.model_id}`]))
  }

  const away = await server()
  away.always = (response) => void response.writeHead(503).end()
  await stage.run(away.url, { for_ms: 500 })
  expect(await stage.rows()).toEqual([])

  const { files, manifest } = tinyDecoder('a')
  const blob = await blobs.put(files.get('model.onnx') as Uint8Array, 'application/onnx')
  const model = { model_id: 'own', version: 0, ...manifest, files: [{ name: 'model.onnx' as const, blob }] }
  await append(modelPublished, [published(model) as unknown as Event])
  await ask('later')
  const common = { log, blobs, vocabulary: catalogueOf(catalogue), partitions: 2, models: sessions }
  await runUntilRead({ ...common, processor: sampleModel('policy'), tuning: { snapshot_every: 1 } })
  expect(await answeredBy()).toEqual({ later: '4 by own' })
  // It would void the states of what the other policy still has to answer.
  expect(await recordsOf(log, SNAPSHOTS_TOPIC)).toEqual([])

  const back = await server()
  await ask('last')
  await stage.run(back.url)
  expect(await answeredBy()).toEqual({
    ...{ g0: '4 by tiny', g1: '4 by tiny', g2: '4 by tiny', last: '4 by tiny' },
    later: '4 by own',
  })
})
