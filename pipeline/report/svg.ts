/** The small part of SVG that the reports use. The same numbers give the same text on every machine. */

export const INK = '#1b1f24'
export const FAINT = '#d0d5db'
const FONT = 'system-ui, sans-serif'

/** @param title for screen readers */
export function svgDocument(width: number, height: number, title: string, parts: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${px(width)} ${px(height)}" width="${px(width)}" height="${px(height)}" font-family="${FONT}" font-size="12">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    ...parts,
    '</svg>\n',
  ].join('\n')
}

export interface TextStyle {
  readonly anchor?: 'start' | 'middle' | 'end'
  readonly size?: number
  readonly fill?: string
  readonly bold?: boolean
  /** Rotation in degrees about the text's position. */
  readonly turn?: number
}

export function text(x: number, y: number, words: string, style: TextStyle = {}): string {
  const { anchor = 'start', size = 12, fill = INK, bold = false, turn } = style
  const rotated = turn === undefined ? '' : ` transform="rotate(${turn} ${px(x)} ${px(y)})"`
  return `<text x="${px(x)}" y="${px(y)}" text-anchor="${anchor}" font-size="${size}" fill="${fill}"${bold ? ' font-weight="600"' : ''}${rotated}>${escaped(words)}</text>`
}

export function rect(x: number, y: number, width: number, height: number, fill: string, title?: string): string {
  const shape = `<rect x="${px(x)}" y="${px(y)}" width="${px(width)}" height="${px(height)}" fill="${fill}"`
  return title === undefined ? `${shape}/>` : `${shape}><title>${escaped(title)}</title></rect>`
}

export function line(x1: number, y1: number, x2: number, y2: number, stroke = INK, width = 1): string {
  return `<line x1="${px(x1)}" y1="${px(y1)}" x2="${px(x2)}" y2="${px(y2)}" stroke="${stroke}" stroke-width="${width}"/>`
}

export function dot(x: number, y: number, radius: number, fill: string, stroke = 'none'): string {
  return `<circle cx="${px(x)}" cy="${px(y)}" r="${px(radius)}" fill="${fill}" stroke="${stroke}"/>`
}

/**
 * A grid of coloured cells as one path per colour, runs of equal cells merged.
 *
 * @param colourAt the colour of column, row; row 0 is at the top
 */
export function heatmap(
  place: { readonly x: number; readonly y: number; readonly width: number; readonly height: number },
  columns: number,
  rows: number,
  colourAt: (column: number, row: number) => string,
): string {
  const runs = new Map<string, string>()
  for (let row = 0; row < rows; row++) {
    for (let start = 0; start < columns; ) {
      const colour = colourAt(start, row)
      let end = start + 1
      while (end < columns && colourAt(end, row) === colour) end++
      runs.set(colour, `${runs.get(colour) ?? ''}M${start} ${row}h${end - start}v1h-${end - start}z`)
      start = end
    }
  }
  const { x, y, width, height } = place
  const scale = `translate(${px(x)} ${px(y)}) scale(${number(width / columns)} ${number(height / rows)})`
  const paths = [...runs].map(([colour, path]) => `<path fill="${colour}" d="${path}"/>`)
  return `<g transform="${scale}" shape-rendering="crispEdges">\n${paths.join('\n')}\n</g>`
}

/** Anchors of matplotlib's viridis (CC0), read at 0, 1/8, … 1. */
const VIRIDIS = ['#440154', '#472d7b', '#3b528b', '#2c728e', '#21918c', '#28ae80', '#5ec962', '#addc30', '#fde725'].map(
  (hex) => [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)),
)

/** The colour of `share` (0 … 1) in 64 steps. */
export function viridis(share: number): string {
  const place = (Math.round(Math.min(1, Math.max(0, share)) * 63) / 63) * (VIRIDIS.length - 1)
  const low = VIRIDIS[Math.floor(place)] as number[]
  const high = VIRIDIS[Math.ceil(place)] as number[]
  const mix = low.map((from, channel) =>
    Math.round(from + ((high[channel] as number) - from) * (place - Math.floor(place))),
  )
  return `#${mix.map((value) => value.toString(16).padStart(2, '0')).join('')}`
}

/** Round values that cover low … high in about `count` steps of 1, 2 or 5 times a power of ten. */
export function ticks(low: number, high: number, count = 5): number[] {
  const rough = (high - low || 1) / count
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10) * power
  const first = Math.ceil(low / step - 1e-9)
  const last = Math.floor(high / step + 1e-9)
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)) + 0)
}

/** A number for people: at most four significant digits. */
export const short = (value: number) => String(Number(value.toPrecision(4)))

const px = (value: number) => number(Number(value.toFixed(2)))
const number = (value: number) => String(Number(value.toPrecision(10)) + 0)

export function escaped(words: string): string {
  return words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}
