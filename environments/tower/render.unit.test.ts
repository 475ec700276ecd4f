import { describe, expect, test } from 'vitest'
import { CENTRE_COLUMN } from './camera.ts'
import { HEIGHT, pixelHash, renderScene, WIDTH } from './render.ts'
import type { Colour, Scene } from './scene.ts'
import { composeScene, sampleScene } from './scene.ts'
import type { Dataset } from './task.ts'

const RED: Colour = [220, 30, 30]
const BLUE: Colour = [30, 30, 220]

/** A tower of red blocks and a blue misplaced one. */
function sceneWith(dataset: Dataset, height: number, offset_units: number): Scene {
  const colours = Array.from({ length: height }, (_, index) => (index === height - 1 ? BLUE : RED))
  return composeScene({ dataset, split: 'train', seed: '', index: 0, height, offset_units, colours })
}

/** Columns and rows of the smallest box around the pixels for which `holds` is true. */
function extent(pixels: Uint8Array, holds: (red: number, green: number, blue: number) => boolean) {
  const box = { left: WIDTH, right: -1, top: HEIGHT, bottom: -1 }
  for (let row = 0; row < HEIGHT; row++) {
    for (let column = 0; column < WIDTH; column++) {
      const [red = 0, green = 0, blue = 0] = pixels.subarray((row * WIDTH + column) * 3)
      if (!holds(red, green, blue)) continue
      box.left = Math.min(box.left, column)
      box.right = Math.max(box.right, column)
      box.top = Math.min(box.top, row)
      box.bottom = Math.max(box.bottom, row)
    }
  }
  return box
}

const isRed = (red: number, green: number, blue: number) => red > 3 * blue && red > 3 * green
const isBlue = (red: number, green: number, blue: number) => blue > 2 * red && blue > 2 * green

describe('renderScene', () => {
  test('gives these pixels for seed 7: goldens', () => {
    const hashes = (['top_block', 'side_block'] as const).map((dataset) =>
      pixelHash(renderScene(sampleScene({ dataset, split: 'train', seed: '7', index: 0 }))),
    )
    expect(hashes).toMatchInlineSnapshot(`
      [
        "45361072ab8038084a8457aecb6d35c3946953130f7c780f81b90fc3c079c668",
        "7cac5cd70af4c6cd3e71df3a842681264c20a7d8cd762d6c64800610a6fb654c",
      ]
    `)
  })

  test('does not depend on what was drawn before, nor on the buffer', () => {
    const scenes = Array.from({ length: 12 }, (_, index) =>
      sampleScene({ dataset: 'top_block', split: 'train', seed: 'order', index }),
    )
    const forwards = scenes.map((scene) => pixelHash(renderScene(scene)))
    const buffer = new Uint8Array(WIDTH * HEIGHT * 3).fill(77)
    const backwards = scenes.toReversed().map((scene) => pixelHash(renderScene(scene, buffer)))
    expect(backwards.toReversed()).toEqual(forwards)
  })

  test.each([
    ['top_block', 2],
    ['top_block', 3],
    ['top_block', 4],
    ['side_block', 2],
    ['side_block', 4],
  ] as const)('%s, %i blocks: shows every block whole, where it is', (dataset, height) => {
    const offset = dataset === 'top_block' ? 120 : 450
    const pixels = renderScene(sceneWith(dataset, height, offset))
    const tower = extent(pixels, isRed)
    const moved = extent(pixels, isBlue)
    expect(tower.left).toBeGreaterThanOrEqual(CENTRE_COLUMN - 22)
    expect(tower.bottom).toBe(225)
    expect(moved.left).toBeGreaterThanOrEqual(Math.floor(CENTRE_COLUMN + 0.17 * (offset - 125)) - 12)
    expect(Math.abs(moved.right + 1 - (CENTRE_COLUMN + 0.17 * (offset + 125)))).toBeLessThanOrEqual(1)
    // A pixel shared by two objects is neither red nor blue.
    const meetsBelow = dataset === 'top_block' ? 226 - 42.5 * (height - 1) : 226
    expect(Math.abs(moved.bottom + 1 - meetsBelow)).toBeLessThanOrEqual(1)
  })

  test('keeps blocks at the ends of the range inside the picture', () => {
    for (const offset of [-600, 600]) {
      const moved = extent(renderScene(sceneWith('side_block', 4, offset)), isBlue)
      expect(moved.left).toBeGreaterThan(2)
      expect(moved.right).toBeLessThan(WIDTH - 3)
    }
    const tallest = extent(renderScene(sceneWith('top_block', 4, 0)), isBlue)
    expect(tallest.top).toBeGreaterThan(20)
  })

  test.each(['top_block', 'side_block'] as const)('%s: every single answer unit shows', (dataset) => {
    const [low, high] = dataset === 'top_block' ? [1, 237] : [300, 600]
    for (const side of [-1, 1]) {
      const hashes = new Set<string>()
      for (let size = low; size <= high; size++) hashes.add(pixelHash(renderScene(sceneWith(dataset, 3, side * size))))
      expect(hashes.size).toBe(high - low + 1)
    }
  })

  test('hides blocks that are behind others, in any order of the tower’s blocks', () => {
    const scene = sceneWith('top_block', 4, 60)
    const [first, second, third, moved] = scene.blocks as [
      Scene['blocks'][0],
      Scene['blocks'][0],
      Scene['blocks'][0],
      Scene['blocks'][0],
    ]
    const turned = { blocks: [third, second, first, moved], moved_block: 3 }
    const expected = renderScene(scene)
    const actual = renderScene(turned)
    let differing = 0
    for (let byte = 0; byte < expected.length; byte++)
      if (Math.abs((expected[byte] ?? 0) - (actual[byte] ?? 0)) > 24) differing++
    // Blended edges and the wood grain differ; the visible faces do not.
    expect(differing).toBeLessThan(0.01 * expected.length)
  })

  test('casts a shadow on the side away from the light', () => {
    const without = renderScene(sceneWith('side_block', 2, -600))
    const shaded = renderScene(sceneWith('side_block', 2, 400))
    const at = (pixels: Uint8Array, column: number, row: number) => pixels[(row * WIDTH + column) * 3] ?? 0
    expect(at(shaded, 230, 215)).toBeLessThan(0.8 * at(without, 230, 215))
    expect(at(shaded, 60, 245)).toBe(at(renderScene(sceneWith('side_block', 2, 590)), 60, 245))
  })

  test('refuses a scene without its moved block, and a buffer of another size', () => {
    expect(() => renderScene({ blocks: [], moved_block: 0 })).toThrow('moved_block: expected an index below 0, got 0')
    expect(() => renderScene(sceneWith('top_block', 2, 5), new Uint8Array(3))).toThrow(
      'into: expected 196608 bytes, got 3',
    )
  })
})
