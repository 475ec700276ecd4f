import { describe, expect, test } from 'vitest'
import type { Colour, Scene } from './scene.ts'
import { sampleScene, strataCount } from './scene.ts'
import { contentKey, DEFAULT_SPLIT_PLAN, HEIGHTS, OFFSET_RANGES, SPLITS, splitOf } from './splits.ts'
import { DATASETS } from './task.ts'

const CELLS = DATASETS.flatMap((dataset) => SPLITS.map((split) => ({ dataset, split })))

function scenesOf(cell: (typeof CELLS)[number], count: number, seed = '7'): Scene[] {
  return Array.from({ length: count }, (_, index) => sampleScene({ ...cell, seed, index }))
}

function hueOf(colour: Colour): number {
  const [red = 0, green = 0, blue = 0] = colour
  const value = Math.max(red, green, blue)
  const chroma = value - Math.min(red, green, blue)
  if (value === red) return (60 * ((green - blue) / chroma) + 360) % 360
  return value === green ? 60 * ((blue - red) / chroma) + 120 : 60 * ((red - green) / chroma) + 240
}

describe('sampleScene', () => {
  test('is a pure function of dataset, split, seed and index, in any order', () => {
    const forwards = scenesOf({ dataset: 'top_block', split: 'train' }, 50)
    for (let index = 49; index >= 0; index--) {
      expect(sampleScene({ dataset: 'top_block', split: 'train', seed: '7', index })).toEqual(forwards[index])
    }
    expect(scenesOf({ dataset: 'top_block', split: 'train' }, 50, '8')).not.toEqual(forwards)
  })

  test('gives this scene for seed 7: a golden', () => {
    expect(sampleScene({ dataset: 'side_block', split: 'train', seed: '7', index: 0 })).toMatchInlineSnapshot(`
      {
        "blocks": [
          {
            "colour": [
              75,
              214,
              114,
            ],
            "edge": 0.25,
            "x": 0,
            "y": 0.125,
            "z": 0,
          },
          {
            "colour": [
              72,
              43,
              166,
            ],
            "edge": 0.25,
            "x": -0.586,
            "y": 0.125,
            "z": 0,
          },
        ],
        "com_margin_world": 0.125,
        "content_key": "side_block/2/-586",
        "dataset": "side_block",
        "height": 2,
        "index": 0,
        "is_stable": true,
        "moved_block": 1,
        "offset_units": -586,
        "offset_world": -0.586,
        "optimal_move": {
          "dx_units": 586,
          "dy_units": 250,
        },
        "seed": "7",
        "simulator_version": "tower-1+rapier3d-deterministic-0.21.0",
        "split": "train",
        "unit": 0.001,
      }
    `)
  })

  test('survives JSON', () => {
    for (const cell of CELLS)
      for (const scene of scenesOf(cell, 20)) expect(JSON.parse(JSON.stringify(scene))).toEqual(scene)
  })

  test.each(CELLS)('$dataset/$split: describes blocks, labels and the optimal move consistently', (cell) => {
    for (const scene of scenesOf(cell, 100)) {
      const moved = scene.blocks[scene.moved_block]
      expect(scene.blocks).toHaveLength(scene.height)
      expect(HEIGHTS).toContain(scene.height)
      expect(moved?.x).toBe(scene.offset_world)
      expect(moved?.y).toBe(scene.dataset === 'top_block' ? (scene.height - 0.5) * 0.25 : 0.125)
      expect(scene.offset_units + scene.optimal_move.dx_units).toBe(0)
      expect(scene.optimal_move.dy_units).toBe(scene.dataset === 'top_block' ? 0 : 250 * (scene.height - 1))
      expect(scene.is_stable).toBe(scene.com_margin_world > 0)
      expect(scene.content_key).toBe(contentKey(scene.dataset, scene.height, scene.offset_units))
      for (const { colour } of scene.blocks)
        for (const channel of colour) expect(channel).toBe(Math.max(0, Math.min(255, Math.round(channel))))
    }
  })

  test.each(CELLS)('$dataset/$split: spreads any prefix evenly over height × side × label', (cell) => {
    const counts = new Map<string, number>()
    const cells = strataCount(cell.dataset, cell.split)
    for (const [index, scene] of scenesOf(cell, 10 * cells + 5).entries()) {
      const key = `${scene.height}/${Math.sign(scene.offset_units)}/${scene.is_stable}`
      counts.set(key, (counts.get(key) ?? 0) + 1)
      if (index < cells) continue
      expect(counts.size).toBe(cells)
      expect(Math.max(...counts.values()) - Math.min(...counts.values())).toBeLessThanOrEqual(1)
    }
  })

  test('shuffles the labels, so that the index does not reveal them', () => {
    const cells = strataCount('top_block', 'train')
    const yesAt = Array.from({ length: cells }, () => 0)
    for (const [index, scene] of scenesOf({ dataset: 'top_block', split: 'train' }, 400 * cells).entries()) {
      if (scene.is_stable) yesAt[index % cells] = (yesAt[index % cells] ?? 0) + 1
    }
    for (const yes of yesAt) expect(Math.abs(yes / 400 - 0.5)).toBeLessThan(0.1)
  })

  test.each(SPLITS)('%s: the best answer from the number of blocks alone is at chance on stability', (split) => {
    const scenes = scenesOf({ dataset: 'top_block', split }, 960)
    let right = 0
    for (const height of HEIGHTS) {
      const yes = scenes.filter((scene) => scene.height === height && scene.is_stable).length
      const no = scenes.filter((scene) => scene.height === height && !scene.is_stable).length
      right += Math.max(yes, no)
    }
    expect(right / scenes.length).toBe(0.5)
  })

  test('refuses what it cannot sample', () => {
    const request = { dataset: 'top_block', split: 'train', seed: '7', index: 0 } as const
    expect(() => sampleScene({ ...request, index: -1 })).toThrow('index: expected an integer of at least 0, got -1')
    expect(() => sampleScene({ ...request, split: 'dev' as 'train' })).toThrow('split: expected one of train, test_iid')
    expect(() =>
      sampleScene({ ...request, split: 'test_height', plan: { ...DEFAULT_SPLIT_PLAN, held_out_height: null } }),
    ).toThrow('leaves it no height')
    expect(() =>
      sampleScene({ ...request, split: 'test_iid', plan: { ...DEFAULT_SPLIT_PLAN, test_iid_share: 0 } }),
    ).toThrow('expected at least one stable offset')
  })
})

describe('splits', () => {
  test('every content key has one split, and mirror images share it', () => {
    for (const dataset of DATASETS) {
      for (const height of HEIGHTS) {
        for (const { low, high } of OFFSET_RANGES[dataset]) {
          for (let size = low; size <= high; size++)
            expect(splitOf(dataset, height, size)).toBe(splitOf(dataset, height, -size))
        }
      }
    }
  })

  test.each(DATASETS)('%s: no content key of a split is in another', (dataset) => {
    const seen = new Map<string, string>()
    for (const split of SPLITS) {
      for (const scene of scenesOf({ dataset, split }, 2000)) {
        expect(seen.get(scene.content_key) ?? split).toBe(split)
        seen.set(scene.content_key, split)
      }
    }
  })

  test('each held-out split has what no other split has', () => {
    for (const cell of CELLS) {
      for (const scene of scenesOf(cell, 300)) {
        expect(scene.height === 3).toBe(cell.split === 'test_height')
        for (const { colour } of scene.blocks) {
          const hue = hueOf(colour)
          // Rounding to 8 bits moves a hue by less than a degree.
          if (cell.split === 'test_appearance') expect(hue > 149 && hue < 211).toBe(true)
          else expect(hue > 151 && hue < 209).toBe(false)
        }
      }
    }
  })

  test('a plan without held-out bands trains on all heights', () => {
    const plan = { ...DEFAULT_SPLIT_PLAN, held_out_height: null, held_out_band: null }
    const heights = new Set(
      Array.from(
        { length: 60 },
        (_, index) => sampleScene({ dataset: 'top_block', split: 'train', seed: '7', index, plan }).height,
      ),
    )
    expect([...heights].sort()).toEqual([2, 3, 4])
  })
})
