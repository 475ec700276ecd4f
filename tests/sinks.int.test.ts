import { join } from 'node:path'
import { expect, test } from 'vitest'
import { generate } from '../cli/generate.ts'
import { openDataFolder } from '../pipeline/data-folder.ts'
import { runPipeline } from '../pipeline/run-pipeline.ts'
import { prepareLog } from '../pipeline/wiring.ts'
import { openJsonlSink } from '../sinks/jsonl/jsonl-sink.ts'
import { DEFAULTS, topology } from '../streams/topology.ts'
import { temporaryFolder } from '../testing/temporary-folder.ts'

const SCENE = { dataset: 'side_block', task: 'x_y', split: 'train', variant: 'plain', purpose: 'train' } as const

test('a sink that is stuck holds back neither the workers nor another sink; a run until idle waits for it', async () => {
  const root = await temporaryFolder()
  const folder = await openDataFolder({ data: join(root, 'data') }, { create: true })
  const wiring = await topology({ ...DEFAULTS, policy: 'random-legal' })
  await prepareLog(folder, wiring)
  const stop = new AbortController()
  await generate(folder, { ...SCENE, scenes: 4, seed: '1', group_size: 2, round: 0 }, true, stop.signal)
  const gate = Promise.withResolvers<void>()
  const shared = { log: folder.log, blobs: folder.blobs, catalogue: wiring.events, poll_ms: 10 }
  const stuck = await openJsonlSink({ ...shared, dir: join(root, 'stuck'), observe: () => gate.promise })
  const quick = await openJsonlSink({ ...shared, dir: join(root, 'quick') })
  let groups = 0
  const running = runPipeline({
    folder,
    topology: wiring,
    sinks: [stuck, quick],
    only: [],
    until_idle: true,
    expire_pending: false,
    signal: stop.signal,
    onWorkerEvent: (_, event) => {
      if (event.kind === 'committed') groups += event.outputs_by_type['rollout.group_formed'] ?? 0
    },
  })
  await expect.poll(() => groups, { timeout: 30_000 }).toBe(4)
  await expect.poll(() => quick.lag(), { timeout: 30_000 }).toBe(0n)
  expect(await Promise.race([running.then(() => 'ended'), quick.loadOnce().then(() => 'goes on')])).toBe('goes on')
  gate.resolve()
  await running
  expect([await stuck.lag(), await quick.lag()]).toEqual([0n, 0n])
  await Promise.all([stuck, quick].map((sink) => sink.close()))
  await folder.close()
})
