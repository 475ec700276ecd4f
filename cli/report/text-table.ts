/** A column of a printed table: numbers stand to the right. */
export interface Column {
  readonly name: string
  readonly right?: boolean
}

/** Rows under a ruled head, two spaces between columns, as the answers of `sql` look. */
export function textTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map(({ name }, at) => Math.max(name.length, ...rows.map((row) => row[at]?.length ?? 0)))
  const line = (cells: readonly string[]) =>
    columns
      .map(({ right }, at) =>
        right ? (cells[at] ?? '').padStart(widths[at] ?? 0) : (cells[at] ?? '').padEnd(widths[at] ?? 0),
      )
      .join('  ')
      .trimEnd()
  return [
    line(columns.map(({ name }) => name)),
    widths.map((width) => '─'.repeat(width)).join('  '),
    ...rows.map(line),
    '',
  ].join('\n')
}
