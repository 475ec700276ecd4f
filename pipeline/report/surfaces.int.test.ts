import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { openPhysics } from '../../environments/tower/physics.ts'
import { drawFigure, FIGURES, surfaceOf, symlog } from './surfaces.ts'

const PICTURES = new URL('../../docs/rewards/', import.meta.url)
const physics = await openPhysics()
const [figure7, figure8] = FIGURES as [(typeof FIGURES)[0], (typeof FIGURES)[0]]

test('the pictures in docs/rewards are what the reward code draws now', async () => {
  for (const figure of FIGURES) {
    const kept = await readFile(new URL(figure.file, PICTURES), 'utf8')
    expect(drawFigure(figure, physics), `./plumbline report surfaces --out docs/rewards, and look at them`).toBe(kept)
  }
})

test('the surfaces are those that a person has looked at', () => {
  const hashes = FIGURES.map((figure) => {
    const sha = createHash('sha256')
    // exp() may differ in its last bit between machines; nine digits do not.
    for (const height of [2, 3, 4])
      for (const reward of surfaceOf(figure, height, physics).rewards) sha.update(`${reward.toFixed(9)} `)
    return `${figure.file} ${sha.digest('hex')}`
  })
  expect(hashes).toMatchInlineSnapshot(`
    [
      "figure-7-x-only-top-block.svg 18758b536eab9c96fdbea8709ada10685ec9ab880396cd0d19592e5a0d853795",
      "figure-8-x-y-side-block.svg 71b2df73155e444f57d6f0a7d7374bd07ae88db2bab3200ef9a81158e35a7768",
    ]
  `)
})

test('every branch of §3.4 is on the surfaces, at the height of the formula', () => {
  const { rewards, columns } = surfaceOf(figure8, 3, physics)
  const at = (x_units: number, bottom_units: number) =>
    rewards[((1200 - bottom_units) / 10) * columns + (x_units + 700) / 10] as number
  const gauss = (x_units: number, y_units: number) => Math.exp(-((x_units / 1000) ** 2 + (y_units / 1000) ** 2))
  expect(at(0, 500)).toBe(20)
  expect(at(100, 600)).toBeCloseTo(20 * gauss(100, 100), 12)
  expect(at(0, -10)).toBe(-4)
  expect(at(0, 250)).toBeCloseTo(2 * gauss(0, 250) - 4, 12)
  expect(at(600, 500)).toBeCloseTo(2 * gauss(600, 0) - 2, 12)
  const flat = surfaceOf(figure7, 2, physics)
  expect(flat.rewards[0]).toBeCloseTo(2 * gauss(700, 0) - 2, 12)
  expect(flat.rewards[70]).toBe(20)
})

test('symlog keeps the sign and 0', () => {
  expect([symlog(-9), symlog(0), symlog(9)]).toEqual([-1, 0, 1])
})
