import { createHash } from 'node:crypto'
import sharp from 'sharp'
import { promptFor } from '../environments/tower/prompts.ts'
import { HEIGHT, renderScene, WIDTH } from '../environments/tower/render.ts'
import { sampleScene } from '../environments/tower/scene.ts'
import { assertLegalPair } from '../environments/tower/task.ts'
import type { Blobs } from '../infra/blobs/blobs.ts'
import type { ImageRef } from '../schemas/declare/logical-types.ts'
import type { PURPOSES } from '../schemas/events/rollout.ts'
import type { DATASETS, PROMPT_VARIANTS, SPLITS, TASKS } from '../schemas/events/tower.ts'
import { sourceId } from '../schemas/wire/identity.ts'
import { TOWER_SOURCE } from './ce-source.ts'
import { PRESENTED, presentScene, promptOf } from './present-scene.ts'
import { type Emitted, inSteps, type Source, type Steps } from './source.ts'

export interface TowerScenesOptions {
  readonly dataset: (typeof DATASETS)[number]
  readonly task: (typeof TASKS)[number]
  readonly split: (typeof SPLITS)[number]
  readonly variant: (typeof PROMPT_VARIANTS)[number]
  readonly purpose: (typeof PURPOSES)[number]
  /** How many; `Infinity` for a source without end. */
  readonly scenes: number
  readonly seed: string
  readonly group_size: number
  readonly round: number
  /**
   * The time on the host's clock: requests then have it, and expire on that clock. Nothing else of an event depends on
   * it. Default: the generator's own clock.
   */
  readonly now?: (() => string) | undefined
}

/**
 * Tower scenes, each with one request for a group of completions. The same options always give the same events: time is
 * the generator's own unless `now` is given, and identity follows from the options and the scene's index.
 *
 * @throws Error when the dataset has no such task (paper 1 §3.2).
 */
export function towerScenes(options: TowerScenesOptions, blobs: Blobs): Source & Steps {
  assertLegalPair(options.dataset, options.task)
  const { dataset, task, split, variant, purpose, seed, group_size, round } = options
  const name = ['tower', dataset, task, split, variant, purpose, seed, `n${group_size}`, `r${round}`].join('/')
  const prompt = promptOf(promptFor(dataset, task, variant), variant)

  async function sceneAndRequest(index: number, asked_at: string | undefined, signal: AbortSignal): Promise<Emitted[]> {
    signal.throwIfAborted()
    const scene = sampleScene({ dataset, split, seed, index })
    const scene_id = sourceId(['tower/scene', dataset, split, seed, String(index)])
    const group_id = sourceId(['tower/group', name, scene_id])
    return presentScene({
      source: TOWER_SOURCE,
      seed,
      index,
      // Independent of the task: if two tasks use the scene, both emit this same event.
      presented_id: sourceId(['tower/scene_presented', scene_id]),
      scene: { scene_id, ...scene, image: await photograph(renderScene(scene), blobs, signal) },
      requested_id: sourceId(['tower/requested', group_id]),
      asked_at,
      request: {
        group_id,
        task,
        prompt,
        group_size,
        seed: sourceId(['tower/completions', seed, group_id]),
        round,
        purpose,
      },
    })
  }

  return inSteps({
    name,
    steps: options.scenes,
    types: PRESENTED,
    async produce(from, to, signal) {
      const indices = Array.from({ length: to - from }, (_, offset) => from + offset)
      const asked_at = options.now?.()
      return (await Promise.all(indices.map((index) => sceneAndRequest(index, asked_at, signal)))).flat()
    },
  })
}

/** Stores pixels (RGB, 8 bits, row by row) as a PNG. */
async function photograph(pixels: Uint8Array, blobs: Blobs, signal: AbortSignal): Promise<ImageRef> {
  const png = await sharp(pixels, { raw: { width: WIDTH, height: HEIGHT, channels: 3 } })
    .png({ compressionLevel: 6, adaptiveFiltering: false })
    .toBuffer()
  const pixels_sha256 = createHash('sha256').update(pixels).digest('hex')
  return { ...(await blobs.put(png, 'image/png', { signal })), width: WIDTH, height: HEIGHT, pixels_sha256 }
}
