import type { Event, RowOfEvent } from '../schemas/declare/event.ts'
import { completionsSampled, NO_MODEL, NO_TOKENS } from '../schemas/events/policy.ts'
import { rolloutRequested } from '../schemas/events/rollout.ts'
import { completionsScored, type scenePresented, startAt } from '../schemas/events/tower.ts'
import { example } from './test-driver.ts'

/** Hand-made events of one group, for tests of the processors. Fields that a test omits are plausible and constant. */

type Requested = RowOfEvent<typeof rolloutRequested>
type Sampled = RowOfEvent<typeof completionsSampled>
type Scored = RowOfEvent<typeof completionsScored>

const IMAGE = {
  sha256: 'a'.repeat(64),
  bytes: 1,
  media_type: 'image/png',
  width: 256,
  height: 256,
  pixels_sha256: 'b'.repeat(64),
}

const block = (x: number, y: number) => ({ x, y, z: 0, edge: 0.25, colour: [200, 80, 40] })

/** A side-block scene: one block on the floor, the other 0.4 to its right. */
export const SCENE: RowOfEvent<typeof scenePresented> = {
  scene_id: 'scene-1',
  dataset: 'side_block',
  split: 'train',
  seed: '1',
  index: 0,
  height: 2,
  blocks: [block(0, 0.125), block(0.4, 0.125)],
  moved_block: 1,
  image: IMAGE,
  offset_world: 0.4,
  offset_units: 400,
  com_margin_world: -0.275,
  is_stable: true,
  optimal_move: { dx_units: -400, dy_units: 250 },
  unit: 0.001,
  simulator_version: 'test',
  content_key: 'side_block/2/400',
}

export function requested(data: Partial<Requested> = {}, id = 'request'): Event<typeof rolloutRequested> {
  return example(
    rolloutRequested,
    {
      group_id: 'g1',
      origin: 'tower',
      task: 'x_y',
      prompt: { text: 'move it', sha256: 'c'.repeat(64), variant: 'plain' },
      ...startAt(SCENE),
      policy_role: 'policy',
      group_size: 2,
      sampling: { temperature: null, top_p: null, top_k: null, max_tokens: null, stop: [] },
      seed: '1',
      round: 0,
      purpose: 'train',
      deadline: { clock: 'virtual', time: '2026-01-01T01:00:00.000Z' },
      ...data,
    },
    { id },
  )
}

export function sampledRow(completion_index: number, data: Partial<Sampled> = {}): Sampled {
  return {
    group_id: 'g1',
    completion_index,
    attempt_id: 'attempt-1',
    policy: 'test',
    text: '<answer>-400, 250</answer>',
    ...NO_TOKENS,
    temperature: null,
    top_p: null,
    top_k: null,
    max_tokens: null,
    stop: [],
    ...NO_MODEL,
    seed: null,
    ...data,
  }
}

export function sampled(id: string, ...rows: Sampled[]): Event<typeof completionsSampled> {
  return example(completionsSampled, rows, { id, time: '2026-01-01T00:00:01.000Z' })
}

export function scoredRow(completion_index: number, sampled_id: string, data: Partial<Scored> = {}): Scored {
  return {
    group_id: 'g1',
    completion_index,
    attempt_id: 'attempt-1',
    sampled_id,
    scene_id: 'scene-1',
    task: 'x_y',
    answer: '-400, 250',
    parse_error: null,
    dx: -400,
    dy: 250,
    placed: { x: 0, y: 0.375 },
    settled: { x: 0, y: 0.375 },
    outcome: 'stable',
    distance_world: 0,
    reward: 20,
    reward_components: { gaussian: 20 },
    reward_name: 'paper',
    reward_version: 1,
    physics_engine: 'test',
    physics_version: '1',
    scorer_error: null,
    ...data,
  }
}

export function scored(id: string, ...rows: Scored[]): Event<typeof completionsScored> {
  return example(completionsScored, rows, { id, time: '2026-01-01T00:00:01.000Z' })
}
