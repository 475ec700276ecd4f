import { beforeAll, describe, expect, test } from 'vitest'
import type { Physics } from './physics.ts'
import { openPhysics } from './physics.ts'
import { constant, oracle, type Policy, randomLegal } from './policies.ts'
import { random } from './random.ts'
import { paperReward } from './reward.ts'
import type { Colour, Scene } from './scene.ts'
import { composeScene, sampleScene } from './scene.ts'
import { scoreAnswer } from './score.ts'
import type { Dataset, Task } from './task.ts'
import { LEGAL_PAIRS } from './task.ts'

const GREY: Colour = [128, 128, 128]
let physics: Physics

beforeAll(async () => {
  physics = await openPhysics()
})

function sceneWith(dataset: Dataset, height: number, offset_units: number): Scene {
  const colours = Array.from({ length: height }, () => GREY)
  return composeScene({ dataset, split: 'train', seed: 'given', index: 0, height, offset_units, colours })
}

function score(scene: Scene, task: Task, between: string) {
  return scoreAnswer(scene, task, `<answer>${between}</answer>`, { physics })
}

describe('paperReward (paper 1 §3.4)', () => {
  // e^(−0.09) = 0.9139311852712282, e^(−0.25) = 0.7788007830714049
  test.each([
    ['binary_stability', 'non_parseable', null, -1],
    ['binary_stability', 'incorrect', null, 0],
    ['binary_stability', 'correct', null, 1],
    ['x_only', 'non_parseable', null, -5],
    ['x_only', 'unstable', 0.3, 2 * 0.9139311852712282 - 2],
    ['x_only', 'unstable', 0.5, 2 * 0.7788007830714049 - 2],
    ['x_only', 'stable', 0, 20],
    ['x_only', 'stable', 0.3, 20 * 0.9139311852712282],
    ['x_y', 'non_parseable', null, -5],
    ['x_y', 'below_floor', 0.5, -4],
    ['x_y', 'inside_tower', 0, -2],
    ['x_y', 'inside_tower', 0.5, 2 * 0.7788007830714049 - 4],
    ['x_y', 'unstable', 0.5, 2 * 0.7788007830714049 - 2],
    ['x_y', 'stable', 0, 20],
    ['x_y', 'stable', 0.5, 20 * 0.7788007830714049],
  ] as const)('%s, %s, d = %s: %f', (task, outcome, distance_world, reward) => {
    const given = paperReward({ task, outcome, distance_world })
    expect(given.reward).toBeCloseTo(reward, 14)
    const { gaussian, constant } = given.reward_components
    expect(given.reward).toBe(gaussian + constant)
  })

  test('refuses an outcome that the task does not have, and a distance that is not a finite number', () => {
    expect(() => paperReward({ task: 'x_only', outcome: 'below_floor', distance_world: 0 })).toThrow(
      'outcome of x_only: expected one of non_parseable, unstable, stable, got "below_floor"',
    )
    expect(() => paperReward({ task: 'x_y', outcome: 'stable', distance_world: Number.NaN })).toThrow(
      'expected a finite number of at least 0, got NaN',
    )
    expect(() => paperReward({ task: 'x_y', outcome: 'stable', distance_world: null })).toThrow('got null')
  })
})

describe('every branch, within one unit of its boundary', () => {
  const d = (x: number, y = 0) => Math.exp(-(x * x + y * y) / 1e6)

  test.each([
    // Top block 100 right of centre: answer = x − 100. Only physics decides between 0.48 and 0.52 edges (120, 130).
    ['top_block', 'x_only', 3, 100, '-100', 'stable', 20],
    ['top_block', 'x_only', 3, 100, '-101', 'stable', 20 * d(1)],
    ['top_block', 'x_only', 3, 100, '-99', 'stable', 20 * d(1)],
    ['top_block', 'x_only', 3, 100, '20', 'stable', 20 * d(120)],
    ['top_block', 'x_only', 3, 100, '24', 'stable', 20 * d(124)],
    ['top_block', 'x_only', 3, 100, '27', 'unstable', 2 * d(127) - 2],
    ['top_block', 'x_only', 3, 100, '30', 'unstable', 2 * d(130) - 2],
    ['top_block', 'x_only', 3, 100, '-224', 'stable', 20 * d(124)],
    ['top_block', 'x_only', 3, 100, '-227', 'unstable', 2 * d(127) - 2],
    ['top_block', 'x_only', 3, 100, '149', 'unstable', 2 * d(249) - 2],
    ['top_block', 'x_only', 3, 100, '150', 'unstable', 2 * d(250) - 2],
    ['top_block', 'x_only', 3, 100, '1, 2', 'non_parseable', -5],
    // Side block 400 left of a tower of two (top at 500): x-only lifts it to the top.
    ['side_block', 'x_only', 3, -400, '400', 'stable', 20],
    ['side_block', 'x_only', 3, -400, '524', 'stable', 20 * d(124)],
    ['side_block', 'x_only', 3, -400, '527', 'unstable', 2 * d(127) - 2],
    ['side_block', 'x_only', 3, -400, '0', 'unstable', 2 * d(400) - 2],
    ['side_block', 'x_only', 3, -400, 'left', 'non_parseable', -5],
    ['side_block', 'x_y', 3, -400, '400, 500', 'stable', 20],
    ['side_block', 'x_y', 3, -400, '400, 501', 'stable', 20 * d(0, 1)],
    ['side_block', 'x_y', 3, -400, '400, 499', 'stable', 20 * d(0, 1)],
    ['side_block', 'x_y', 3, -400, '400, 498', 'stable', 20 * d(0, 2)],
    ['side_block', 'x_y', 3, -400, '400, 497', 'inside_tower', 2 * d(0, 3) - 4],
    ['side_block', 'x_y', 3, -400, '400, 0', 'inside_tower', 2 * d(0, 500) - 4],
    ['side_block', 'x_y', 3, -400, '400, -1', 'below_floor', -4],
    ['side_block', 'x_y', 3, -400, '0, -1', 'below_floor', -4],
    ['side_block', 'x_y', 3, -400, '0, 0', 'unstable', 2 * d(400, 500) - 2],
    ['side_block', 'x_y', 3, -400, '153, 0', 'inside_tower', 2 * d(247, 500) - 4],
    ['side_block', 'x_y', 3, -400, '152, 0', 'unstable', 2 * d(248, 500) - 2],
    ['side_block', 'x_y', 3, -400, '276, 500', 'stable', 20 * d(124)],
    ['side_block', 'x_y', 3, -400, '273, 500', 'unstable', 2 * d(127) - 2],
    ['side_block', 'x_y', 3, -400, '400, 1000', 'stable', 20 * d(0, 500)],
    ['side_block', 'x_y', 3, -400, '400', 'non_parseable', -5],
  ] as const)(
    '%s %s, height %i, offset %i, answer %j: %s',
    (dataset, task, height, offset, between, outcome, reward) => {
      const scored = score(sceneWith(dataset, height, offset), task, between)
      expect(scored.outcome).toBe(outcome)
      expect(scored.reward).toBeCloseTo(reward, 12)
    },
  )

  test.each([
    [100, 'Yes', 1, 'correct'],
    [100, 'no', 0, 'incorrect'],
    [-200, 'NO', 1, 'correct'],
    [-200, 'yes', 0, 'incorrect'],
    [-200, '7', -1, 'non_parseable'],
  ] as const)('binary stability at offset %i, answer %j: %i', (offset, between, reward, outcome) => {
    expect(score(sceneWith('top_block', 4, offset), 'binary_stability', between)).toMatchObject({
      reward,
      outcome,
      placed: null,
      dx: null,
    })
  })

  test('counts the gap in d for a block that is placed too high, and drops it', () => {
    const scored = score(sceneWith('side_block', 2, 350), 'x_y', '-350, 750')
    expect(scored).toMatchObject({ outcome: 'stable', distance_world: 0.5, dx: -350, dy: 750 })
    expect(scored.placed).toEqual({ x: 0, y: 0.875 })
    expect(scored.settled).toEqual({ x: 0, y: 0.375 })
  })

  test('accepts the largest answers allowed', () => {
    expect(score(sceneWith('side_block', 2, 350), 'x_y', '2147483648 2147483648')).toMatchObject({
      outcome: 'unstable',
      reward: -2,
    })
    expect(score(sceneWith('side_block', 2, 350), 'x_y', '0 -2147483648')).toMatchObject({
      outcome: 'below_floor',
      reward: -4,
    })
  })

  test('refuses a task that the dataset does not have', () => {
    expect(() => score(sceneWith('top_block', 2, 50), 'x_y', '1 2')).toThrow('task for dataset top_block')
  })
})

describe('mean rewards of scripted policies', () => {
  function meanReward(dataset: Dataset, task: Task, policy: Policy, scenes = 600): number {
    let sum = 0
    for (let index = 0; index < scenes; index++) {
      const scene = sampleScene({ dataset, split: 'train', seed: 'mean', index })
      sum += scoreAnswer(scene, task, policy.complete(scene, task, random('mean', index)), {
        physics,
      }).reward
    }
    return sum / scenes
  }

  test.each(LEGAL_PAIRS)('the oracle is at the ceiling of $dataset/$task', ({ dataset, task }) => {
    expect(meanReward(dataset, task, oracle)).toBeGreaterThanOrEqual(task === 'binary_stability' ? 1 : 19.9999)
  })

  test('answering 0 on side block x-only has the paper’s −0.374 over all offsets', () => {
    let sum = 0
    for (let offset = 300; offset <= 600; offset++)
      sum += score(sceneWith('side_block', 2, offset), 'x_only', '0').reward
    expect(sum / 301).toBeCloseTo(-0.374, 3)
    expect(meanReward('side_block', 'x_only', constant('<answer>0</answer>'))).toBeCloseTo(-0.374, 1)
  })

  test('random answers are legal, and at chance on stability', () => {
    expect(Math.abs(meanReward('top_block', 'binary_stability', randomLegal) - 0.5)).toBeLessThan(0.06)
    for (const { dataset, task } of LEGAL_PAIRS) expect(meanReward(dataset, task, randomLegal, 50)).toBeGreaterThan(-4)
  })
})
