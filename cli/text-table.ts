/** A column of a printed table: numbers stand to the right. */
export interface Column {
  readonly name: string
  readonly right?: boolean
}

type Cells = readonly string[]

/** Rows under a ruled head. */
export function textTable(columns: readonly Column[], rows: readonly Cells[]): string {
  const head = columns.map(({ name }) => name)
  const widths = widthsOf([head, ...rows])
  const line = (cells: Cells) => lineOf(cells, widths, (at) => columns[at]?.right ?? false)
  return [
    line(head),
    lineOf(
      widths.map((width) => '─'.repeat(width)),
      widths,
    ),
    ...rows.map(line),
    '',
  ].join('\n')
}

/** The same without a head; a cell that is wider than `widest` pushes the rest of its own line alone. */
export function textColumns(
  rows: readonly Cells[],
  { right = NONE, widest = Number.POSITIVE_INFINITY } = {},
): string[] {
  const widths = widthsOf(rows).map((width) => Math.min(width, widest))
  return rows.map((cells) => lineOf(cells, widths, (at) => right.has(at)))
}

const NONE: ReadonlySet<number> = new Set()

/** In characters, of which some are two in a JavaScript string. */
const widthOf = (text: string) => [...text].length

function widthsOf(rows: readonly Cells[]): number[] {
  return (rows[0] ?? []).map((_, at) => rows.reduce((most, cells) => Math.max(most, widthOf(cells[at] ?? '')), 0))
}

/** Two spaces between columns, none at the end. */
function lineOf(cells: Cells, widths: readonly number[], isRight: (at: number) => boolean = () => false): string {
  const padded = cells.map((cell, at) => {
    const space = ' '.repeat(Math.max(0, (widths[at] ?? 0) - widthOf(cell)))
    return isRight(at) ? space + cell : cell + space
  })
  return padded.join('  ').trimEnd()
}
