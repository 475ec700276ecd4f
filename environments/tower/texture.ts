/**
 * Procedural textures, computed once per process and the same everywhere. The language specifies + − × ÷ and integer
 * arithmetic to the bit, unlike `Math.sin` or `Math.exp`, so files that make pixels use nothing else.
 */

import { CENTRE_COLUMN, EYE_DISTANCE, FOCAL, floorDepth, HEIGHT, WALL_ROW, WIDTH } from './camera.ts'

/** Texels along a block's edge: eight per pixel of a front face, so that one texel is 0.7 answer units. */
export const TEXELS = 340
/** Texel value that does not change a colour. */
export const PLAIN = 128
/** Number of face textures; a block uses the one of its index, modulo this. */
export const VARIANTS = 4

/** Width of a face's rounded rim, as a fraction of its edge. */
const RIM = 0.085
/** Light on the rims, clockwise from the top. */
const RIM_LIGHT = { top: 0.34, right: -0.22, bottom: -0.36, left: 0.2 }

/**
 * Painted wood, TEXELS × TEXELS values per variant, row by row from the face's upper left: PLAIN for the paint's own
 * colour, higher towards the light, lower in the grain, on the rims away from the light, and along the edges. Blurred
 * over one pixel of the picture, so that sampling one texel per pixel does not alias.
 */
export function faceTexture(variant: number): Uint8Array {
  const raw = new Float64Array(TEXELS * TEXELS)
  for (let j = 0; j < TEXELS; j++) {
    const v = (j + 0.5) / TEXELS
    for (let i = 0; i < TEXELS; i++) {
      const u = (i + 0.5) / TEXELS
      raw[j * TEXELS + i] = 1 + grain(u, v, variant) + rim(u, v) + 0.1 * (0.5 - v)
    }
  }
  const blurred = boxBlur(raw, TEXELS, 4)
  const texels = new Uint8Array(TEXELS * TEXELS)
  for (let index = 0; index < texels.length; index++) texels[index] = toByte(PLAIN * (blurred[index] as number))
  return texels
}

function grain(u: number, v: number, variant: number): number {
  const bend = 0.06 * smoothNoise(3 * u, 2 * v, 40 + variant)
  const fibre = smoothNoise(4 * u, 26 * (v + bend), 10 + variant) - 0.5
  const ring = smoothNoise(1.5 * u, 7 * (v + bend), 20 + variant) - 0.5
  return 0.07 * fibre + 0.08 * ring
}

function rim(u: number, v: number): number {
  const distances = [v, 1 - u, 1 - v, u]
  const nearest = Math.min(...distances)
  if (nearest >= RIM) return 0
  const light = [RIM_LIGHT.top, RIM_LIGHT.right, RIM_LIGHT.bottom, RIM_LIGHT.left][distances.indexOf(nearest)] as number
  const roundness = 1 - nearest / RIM
  const crease = nearest < 0.012 ? -0.3 : 0
  return light * smoothstep(roundness) + crease
}

/** The picture without blocks and shadows, RGB, row by row: a wooden table in front of a wall. */
export function backdrop(): Uint8Array {
  const pixels = new Uint8Array(WIDTH * HEIGHT * 3)
  for (let row = 0; row < HEIGHT; row++) {
    // Blend over three pixels where table and wall meet: a sharper edge than the camera's would attract attention.
    const floorShare = smoothstep((row + 0.5 - WALL_ROW) / 3 + 0.5)
    for (let column = 0; column < WIDTH; column++) {
      const wall = wallColour(column, row)
      const table = row + 0.5 > WALL_ROW - 3 ? tableColour(column, row) : wall
      for (let channel = 0; channel < 3; channel++) {
        const value = (wall[channel] as number) * (1 - floorShare) + (table[channel] as number) * floorShare
        pixels[(row * WIDTH + column) * 3 + channel] = toByte(value)
      }
    }
  }
  return pixels
}

function wallColour(column: number, row: number): number[] {
  const x = (column + 0.5 - 0.42 * WIDTH) / WIDTH
  const y = (row + 0.5 - 0.38 * HEIGHT) / HEIGHT
  const light = 1.03 - 0.42 * (x * x + y * y) + 0.012 * (smoothNoise(column / 3, row / 3, 70) - 0.5)
  return [206 * light, 215 * light, 222 * light]
}

/** Planks along the line of sight, PLANK world units wide. */
const PLANK = 0.21

function tableColour(column: number, row: number): number[] {
  const depth = floorDepth(row)
  const x = ((column + 0.5 - CENTRE_COLUMN) * depth) / FOCAL
  const z = EYE_DISTANCE - depth
  const across = x / PLANK + 100.5
  const plank = Math.floor(across)
  const within = across - plank
  const pixelShare = depth / FOCAL / PLANK
  const tone = 0.05 * (smoothNoise(plank + 0.5, 0, 80) - 0.5)
  const wood =
    0.055 * (smoothNoise(26 * across, 5 * z, 81) - 0.5) + 0.05 * (smoothNoise(5 * across, 1.5 * z, 82 + plank) - 0.5)
  const gap = Math.max(0, 1 - Math.min(within, 1 - within) / pixelShare)
  const far = 0.1 * Math.max(0, depth - 2)
  const light = 1 + tone + wood - 0.16 * gap - far - 0.1 * x * x
  return [222 * light, 196 * light, 163 * light]
}

/** Value noise in 0 … 1: random values on the integer lattice, blended smoothly between. */
function smoothNoise(x: number, y: number, seed: number): number {
  const column = Math.floor(x)
  const row = Math.floor(y)
  const across = smoothstep(x - column)
  const down = smoothstep(y - row)
  const upper = latticeValue(column, row, seed) * (1 - across) + latticeValue(column + 1, row, seed) * across
  const lower = latticeValue(column, row + 1, seed) * (1 - across) + latticeValue(column + 1, row + 1, seed) * across
  return upper * (1 - down) + lower * down
}

/** The finaliser of MurmurHash3 over the lattice point, in 0 … 1. */
function latticeValue(column: number, row: number, seed: number): number {
  let hash = Math.imul(column, 0x9e3779b1) ^ Math.imul(row, 0x85ebca77) ^ Math.imul(seed, 0xc2b2ae3d)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32
}

function smoothstep(x: number): number {
  const t = Math.max(0, Math.min(1, x))
  return t * t * (3 - 2 * t)
}

/** Mean over a square of side 2 · radius + 1 texels, clipped at the image's border: one pass along each axis. */
function boxBlur(image: Float64Array, size: number, radius: number): Float64Array {
  return blurRows(transposed(blurRows(transposed(image, size), size, radius), size), size, radius)
}

function blurRows(image: Float64Array, size: number, radius: number): Float64Array {
  const blurred = new Float64Array(image.length)
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const first = Math.max(0, column - radius)
      const last = Math.min(size - 1, column + radius)
      let sum = 0
      for (let at = first; at <= last; at++) sum += image[row * size + at] as number
      blurred[row * size + column] = sum / (last - first + 1)
    }
  }
  return blurred
}

function transposed(image: Float64Array, size: number): Float64Array {
  const turned = new Float64Array(image.length)
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) turned[column * size + row] = image[row * size + column] as number
  }
  return turned
}

function toByte(value: number): number {
  return Math.max(0, Math.min(255, Math.round(value)))
}
