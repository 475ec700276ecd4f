import type { Physics } from '../../environments/tower/physics.ts'
import type { Block, Scene } from '../../environments/tower/scene.ts'
import { composeScene } from '../../environments/tower/scene.ts'
import { scoreAnswer } from '../../environments/tower/score.ts'
import type { Dataset, Task } from '../../environments/tower/task.ts'
import { ANSWER_RANGES, UNITS_PER_WORLD } from '../../environments/tower/task.ts'
import { dot, FAINT, heatmap, INK, line, short, svgDocument, text, ticks, viridis } from './svg.ts'

/** Settings of a reward figure, paper 1's figure 7 or 8. */
export interface SurfaceFigure {
  readonly file: string
  readonly title: string
  readonly dataset: Dataset
  readonly task: Exclude<Task, 'binary_stability'>
  readonly offset_units: number
}

/** The paper does not print the displacements of its figures: 0.2 (top block) and 0.45 (side block) are inferred. */
export const FIGURES: readonly SurfaceFigure[] = [
  {
    file: 'figure-7-x-only-top-block.svg',
    title: 'Reward of x-only on top block (paper 1, figure 7)',
    dataset: 'top_block',
    task: 'x_only',
    offset_units: 200,
  },
  {
    file: 'figure-8-x-y-side-block.svg',
    title: 'Reward of x-y on side block (paper 1, figure 8)',
    dataset: 'side_block',
    task: 'x_y',
    offset_units: 450,
  },
]

const HEIGHTS = [2, 3, 4]
const GREY = [128, 128, 128]
/** Answer units between two evaluated answers, and the part of the world that a panel shows. */
const STEP_UNITS = 10
const X_UNITS = { low: -700, high: 700 }
const Y_UNITS = { low: -200, high: 1200 }

interface Scale {
  readonly name: string
  readonly of: (reward: number) => number
}

/** Symmetric logarithm with a linear threshold of 1 (inferred: the paper says "symlog" and no threshold). */
export const symlog = (reward: number) => Math.sign(reward) * Math.log10(1 + Math.abs(reward))

const SCALES: readonly Scale[] = [
  { name: 'reward', of: (reward) => reward },
  { name: 'symlog: sign(r) · log10(1 + |r|)', of: symlog },
]

/** A placement earns between −4 and 20; −5 (unparseable) does not occur on a surface. */
const LOWEST = -4
const HIGHEST = 20

export interface Surface {
  readonly scene: Scene
  readonly columns: number
  readonly rows: number
  /** Reward of the answer that puts the block's lower centre into a cell, row by row from the top. */
  readonly rewards: Float64Array
  /** Every row is the same. */
  readonly flat: boolean
}

/**
 * The reward of every answer on a grid, from the program's own parser, physics and reward: cell (column, row) is the
 * answer that moves the lower centre of the block there. x-only ignores the height that it is drawn over.
 */
export function surfaceOf(figure: SurfaceFigure, height: number, physics: Physics): Surface {
  const { dataset, task, offset_units } = figure
  const colours = Array.from({ length: height }, () => GREY)
  const scene = composeScene({ dataset, split: 'train', seed: 'figure', index: 0, height, offset_units, colours })
  const columns = (X_UNITS.high - X_UNITS.low) / STEP_UNITS + 1
  const rows = (Y_UNITS.high - Y_UNITS.low) / STEP_UNITS + 1
  const rewards = new Float64Array(columns * rows)
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const dx = X_UNITS.low + column * STEP_UNITS - offset_units
      const dy = Y_UNITS.high - row * STEP_UNITS
      const known = task === 'x_only' && row > 0 ? rewards[column] : undefined
      const answer = task === 'x_only' ? `${dx}` : `${dx}, ${dy}`
      rewards[row * columns + column] =
        known ?? scoreAnswer(scene, task, `<answer>${answer}</answer>`, { physics }).reward
    }
  }
  return { scene, columns, rows, rewards, flat: task === 'x_only' }
}

const PANEL = 250
const GAP = 26
const LEFT = 64
const TOP = 62
const BAR = 14

/** The figure: a column per height, a row per scale; the tower, the misplaced block and, red, its lower centre. */
export function drawFigure(figure: SurfaceFigure, physics: Physics): string {
  const surfaces = HEIGHTS.map((height) => surfaceOf(figure, height, physics))
  const parts = [text(LEFT, 24, figure.title, { size: 15, bold: true })]
  SCALES.forEach((scale, down) => {
    const y = TOP + down * (PANEL + GAP + 24)
    surfaces.forEach((surface, across) => {
      parts.push(...panel(surface, scale, LEFT + across * (PANEL + GAP), y, down === SCALES.length - 1, across === 0))
    })
    parts.push(...colourBar(scale, LEFT + HEIGHTS.length * (PANEL + GAP), y))
  })
  const width = LEFT + HEIGHTS.length * (PANEL + GAP) + BAR + 56
  const height = TOP + SCALES.length * (PANEL + GAP + 24) + 22
  parts.push(
    text(LEFT, height - 8, caption(figure), { size: 11, fill: '#57606a' }),
    text(
      LEFT + (HEIGHTS.length * (PANEL + GAP) - GAP) / 2,
      height - 28,
      'x of the lower centre from the tower axis, answer units',
      {
        anchor: 'middle',
        size: 11,
      },
    ),
    text(LEFT - 46, TOP + PANEL / 2, 'height above the floor, answer units', { turn: -90, anchor: 'middle', size: 11 }),
  )
  return svgDocument(width, height, figure.title, parts)
}

const caption = ({ task }: SurfaceFigure) =>
  task === 'x_only'
    ? `Colour: what the answer earns that moves the block's lower centre to this x; x-only knows no height. Every ${STEP_UNITS} answer units. Red: where it is now.`
    : `Colour: what the answer earns that moves the block's lower centre here, dy below 0 included. Every ${STEP_UNITS} answer units. Red: where it is now.`

function panel(surface: Surface, scale: Scale, left: number, top: number, labelX: boolean, labelY: boolean): string[] {
  const { scene, columns, rows, rewards, flat } = surface
  const low = scale.of(LOWEST)
  const high = scale.of(HIGHEST)
  const colourAt = (column: number, row: number) =>
    viridis((scale.of(rewards[row * columns + column] as number) - low) / (high - low))
  const cell = PANEL / columns
  // A cell is centred on its position.
  const xOf = (units: number) => left + ((units - X_UNITS.low) / STEP_UNITS + 0.5) * cell
  const yOf = (units: number) => top + ((Y_UNITS.high - units) / STEP_UNITS + 0.5) * (PANEL / rows)
  const outline = ({ x, y, edge }: Block, isMoved: boolean) => {
    const side = edge * UNITS_PER_WORLD
    const corner = { x: x * UNITS_PER_WORLD - side / 2, y: y * UNITS_PER_WORLD + side / 2 }
    const width = xOf(corner.x + side) - xOf(corner.x)
    return `<rect x="${xOf(corner.x).toFixed(2)}" y="${yOf(corner.y).toFixed(2)}" width="${width.toFixed(2)}" height="${width.toFixed(2)}" fill="none" stroke="#ffffff" stroke-width="1.3"${isMoved ? ' stroke-dasharray="4 3"' : ''}/>`
  }
  const moved = scene.blocks[scene.moved_block] as Block
  return [
    text(left, top - 6, `${scene.height} blocks: ${scale.name}`, { size: 11 }),
    heatmap({ x: left, y: top, width: PANEL, height: PANEL }, columns, flat ? 1 : rows, colourAt),
    line(left, yOf(0), left + PANEL, yOf(0), '#ffffff', 0.8),
    ...scene.blocks.map((block, index) => outline(block, index === scene.moved_block)),
    dot(xOf(moved.x * UNITS_PER_WORLD), yOf((moved.y - moved.edge / 2) * UNITS_PER_WORLD), 4, '#e5322d', '#ffffff'),
    ...(labelX
      ? ticks(ANSWER_RANGES.dx.low, ANSWER_RANGES.dx.high, 4).map((units) =>
          text(xOf(units), top + PANEL + 14, short(units), { anchor: 'middle', size: 10 }),
        )
      : []),
    ...(labelY
      ? ticks(ANSWER_RANGES.dy.low, ANSWER_RANGES.dy.high, 4).map((units) =>
          text(left - 6, yOf(units) + 4, short(units), { anchor: 'end', size: 10 }),
        )
      : []),
  ]
}

function colourBar(scale: Scale, left: number, top: number): string[] {
  const low = scale.of(LOWEST)
  const high = scale.of(HIGHEST)
  const yOf = (value: number) => top + PANEL - ((value - low) / (high - low)) * PANEL
  return [
    heatmap({ x: left, y: top, width: BAR, height: PANEL }, 1, 64, (_column, row) => viridis(1 - row / 63)),
    `<rect x="${left}" y="${top}" width="${BAR}" height="${PANEL}" fill="none" stroke="${FAINT}"/>`,
    ...ticks(low, high, 6).map((value) => text(left + BAR + 5, yOf(value) + 4, short(value), { size: 10, fill: INK })),
  ]
}
