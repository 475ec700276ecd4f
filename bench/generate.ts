import sharp from 'sharp'
import { HEIGHT, renderScene, WIDTH } from '../environments/tower/render.ts'
import { sampleScene } from '../environments/tower/scene.ts'
import { directoryBlobs } from '../infra/blobs/directory.ts'
import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import { topicsOf } from '../infra/runtime/state/topics.ts'
import { runSource } from '../sources/run-source.ts'
import { type TowerScenesOptions, towerScenes } from '../sources/tower-scenes.ts'
import { catalogue } from '../streams/vocabulary.ts'
import { benchFolder } from './folder.ts'
import type { OpenBench } from './pairs.ts'
import { PARTITIONS } from './tower-log.ts'

const OPTIONS: Omit<TowerScenesOptions, 'scenes' | 'seed'> = {
  dataset: 'side_block',
  task: 'x_y',
  split: 'train',
  variant: 'plain',
  purpose: 'train',
  group_size: 16,
  round: 0,
}

/** Scenes with their pictures, durable in blob store and log, compared with encoding as many other pictures to PNG. */
export const open: OpenBench = async ({ quick }) => {
  const scenes = quick ? 10 : 200
  const folder = await benchFolder()
  const log = await openLmdbLog({ dir: folder.fresh('log') })
  await log.createTopics(topicsOf(catalogue, [], PARTITIONS))
  const blobs = directoryBlobs(folder.fresh('blobs'))
  const pictures = Array.from({ length: scenes }, (_, index) =>
    renderScene(sampleScene({ dataset: 'side_block', split: 'train', seed: 'ceiling', index })),
  )
  let turn = 0
  return {
    measures: [
      {
        what: 'generate tower scenes with PNG, to the log',
        unit: 'scenes',
        seconds: 'wall',
        goal: 0.7,
        candidate: {
          what: 'tower-scenes',
          async run() {
            const source = towerScenes({ ...OPTIONS, scenes, seed: `turn ${turn++}` }, blobs)
            return (await runSource(source, { log, blobs, partitions: PARTITIONS })).done
          },
        },
        ceiling: {
          what: 'PNG encoding alone',
          async run() {
            for (let from = 0; from < scenes; from += 100) {
              await Promise.all(pictures.slice(from, from + 100).map(encode))
            }
            return scenes
          },
        },
      },
    ],
    async close() {
      await log.close()
      await folder.remove()
    },
  }
}

/** As `tower-scenes` stores them. */
function encode(pixels: Uint8Array): Promise<Buffer> {
  return sharp(pixels, { raw: { width: WIDTH, height: HEIGHT, channels: 3 } })
    .png({ compressionLevel: 6, adaptiveFiltering: false })
    .toBuffer()
}
