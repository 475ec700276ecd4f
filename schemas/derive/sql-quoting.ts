/** The name of a schema, table or column as a SQL identifier. */
export const quoted = (identifier: string) => `"${identifier.replaceAll('"', '""')}"`

/** A text as a SQL string literal. */
export const literal = (text: string) => `'${text.replaceAll("'", "''")}'`

/** A table or view as a qualified SQL identifier. */
export const qualified = (schema: string, table: string) => `${quoted(schema)}.${quoted(table)}`

/** The parameters of an INSERT of several rows of equal length: `($1, $2), ($3, $4)`. */
export const places = (rows: readonly (readonly unknown[])[]) => {
  let last = 0
  return rows.map((row) => `(${row.map(() => `$${++last}`).join(', ')})`).join(', ')
}
