import { createHash } from 'node:crypto'
import sharp from 'sharp'
import { promptFor } from '../environments/tower/prompts.ts'
import { HEIGHT, renderScene, WIDTH } from '../environments/tower/render.ts'
import { sampleScene } from '../environments/tower/scene.ts'
import { assertLegalPair } from '../environments/tower/task.ts'
import type { Blobs } from '../infra/blobs/blobs.ts'
import type { DataOf, Event, EventType } from '../schemas/event.ts'
import { sourceId } from '../schemas/identity.ts'
import type { ImageRef } from '../schemas/logical-types.ts'
import { type PROMPT_VARIANTS, type PURPOSES, rolloutRequested } from '../schemas/rollout.ts'
import { type DATASETS, type SPLITS, scenePresented, type TASKS } from '../schemas/tower.ts'
import type { Said, Source } from './source.ts'

export interface TowerScenesOptions {
  readonly dataset: (typeof DATASETS)[number]
  readonly task: (typeof TASKS)[number]
  readonly split: (typeof SPLITS)[number]
  readonly variant: (typeof PROMPT_VARIANTS)[number]
  readonly purpose: (typeof PURPOSES)[number]
  readonly scenes: number
  readonly seed: string
  readonly group_size: number
  readonly round: number
}

/** The generator's own clock: it starts here and a scene takes a second of it. Inferred; only differences matter. */
const START_MS = Date.parse('2026-01-01T00:00:00.000Z')
const SCENE_MS = 1_000
/** How long a group may take on that clock. */
const DEADLINE_MS = 3_600_000

/**
 * Tower scenes, each with one request for a group of completions. The same options give the same events, whenever and
 * wherever: time is the generator's own, identity follows from the options and the scene's index.
 *
 * @throws Error when the dataset has no such task (paper 1 §3.2).
 */
export function towerScenes(options: TowerScenesOptions, blobs: Blobs): Source {
  assertLegalPair(options.dataset, options.task)
  const { dataset, task, split, variant, purpose, seed, group_size, round } = options
  const name = ['tower', dataset, task, split, variant, purpose, seed, `n${group_size}`, `r${round}`].join('/')
  const text = promptFor(dataset, task, variant)
  const prompt = { text, sha256: createHash('sha256').update(text).digest('hex'), variant }

  async function sceneAndRequest(index: number): Promise<Said[]> {
    const scene = sampleScene({ dataset, split, seed, index })
    const scene_id = sourceId(['tower/scene', dataset, split, seed, String(index)])
    const group_id = sourceId(['tower/group', name, scene_id])
    const data: DataOf<typeof scenePresented> = {
      scene_id,
      ...scene,
      image: await photograph(renderScene(scene), blobs),
    }
    const at = START_MS + index * SCENE_MS
    const shared = { source: '/sources/tower', time: iso(at), clock: 'virtual', causes: [], seed } as const
    // The scene's identity is its own: asked about in two tasks, it is the same event said twice.
    const presented: Event<typeof scenePresented> = {
      ...shared,
      id: sourceId(['tower/scene_presented', scene_id]),
      type: scenePresented.type,
      version: scenePresented.version,
      key: scene_id,
      data,
    }
    const requested: Event<typeof rolloutRequested> = {
      ...shared,
      id: sourceId(['tower/requested', group_id]),
      type: rolloutRequested.type,
      version: rolloutRequested.version,
      key: group_id,
      causes: [presented.id],
      correlation: group_id,
      data: {
        group_id,
        origin: 'tower',
        task,
        prompt,
        scene: data,
        policy_role: 'policy',
        group_size,
        sampling: { temperature: null, top_p: null, top_k: null, max_tokens: null, stop: [] },
        seed: sourceId(['tower/completions', seed, group_id]),
        round,
        purpose,
        deadline: { clock: 'virtual', time: iso(at + DEADLINE_MS) },
      },
    }
    return [said(scenePresented, presented), said(rolloutRequested, requested)]
  }

  return {
    name,
    steps: options.scenes,
    async produce(from, to) {
      const indices = Array.from({ length: to - from }, (_, offset) => from + offset)
      return (await Promise.all(indices.map(sceneAndRequest))).flat()
    },
  }
}

/** Stores pixels (RGB, 8 bits, row by row) as a PNG. */
async function photograph(pixels: Uint8Array, blobs: Blobs): Promise<ImageRef> {
  const png = await sharp(pixels, { raw: { width: WIDTH, height: HEIGHT, channels: 3 } })
    .png({ compressionLevel: 6, adaptiveFiltering: false })
    .toBuffer()
  const pixels_sha256 = createHash('sha256').update(pixels).digest('hex')
  return { ...(await blobs.put(png, 'image/png')), width: WIDTH, height: HEIGHT, pixels_sha256 }
}

function said<T extends EventType>(type: T, event: Event<T>): Said {
  return { type, event: event as unknown as Event }
}

const iso = (ms: number) => new Date(ms).toISOString()
