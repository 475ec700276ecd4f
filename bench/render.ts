import { HEIGHT, renderScene, WIDTH } from '../environments/tower/render.ts'
import { type Scene, sampleScene } from '../environments/tower/scene.ts'
import { DATASETS } from '../environments/tower/task.ts'
import type { OpenBench } from './pairs.ts'

/** Pictures of as many different scenes of both datasets, into one buffer. */
export const open: OpenBench = async ({ quick }) => {
  const scenes: Scene[] = []
  for (let index = 0; index < (quick ? 20 : 500); index++) {
    for (const dataset of DATASETS) scenes.push(sampleScene({ dataset, split: 'train', seed: 'bench', index }))
  }
  const into = new Uint8Array(WIDTH * HEIGHT * 3)
  return {
    measures: [
      {
        what: 'render 256×256 RGB',
        unit: 'images',
        seconds: 'cpu',
        goal: 8_000,
        candidate: {
          what: 'renderScene',
          run() {
            for (const scene of scenes) renderScene(scene, into)
            return scenes.length
          },
        },
      },
    ],
  }
}
