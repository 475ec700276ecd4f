import { printableLine, widthOf } from './terminal-text.ts'

/** A column of a printed table; `right` aligns it to the right, for numbers. */
export interface Column {
  readonly name: string
  readonly right?: boolean
}

type Cells = readonly string[]

/** Rows below a header line and a rule. */
export function textTable(columns: readonly Column[], rows: readonly Cells[]): string {
  const head = columns.map(({ name }) => printableLine(name))
  const cells = rows.map((row) => row.map(printableLine))
  const widths = widthsOf([head, ...cells])
  const line = (cells: Cells) => lineOf(cells, widths, (at) => columns[at]?.right ?? false)
  return [
    line(head),
    lineOf(
      widths.map((width) => '─'.repeat(width)),
      widths,
    ),
    ...cells.map(line),
    '',
  ].join('\n')
}

/** The same without a header. A cell wider than `widest` shifts only the rest of its own line. */
export function textColumns(
  rows: readonly Cells[],
  { right = NONE, widest = Number.POSITIVE_INFINITY } = {},
): string[] {
  const lines = rows.map((row) => row.map(printableLine))
  const widths = widthsOf(lines).map((width) => Math.min(width, widest))
  return lines.map((cells) => lineOf(cells, widths, (at) => right.has(at)))
}

const NONE: ReadonlySet<number> = new Set()

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
