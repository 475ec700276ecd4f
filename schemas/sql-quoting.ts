/** A name as SQL: of a schema, table or column. */
export const quoted = (identifier: string) => `"${identifier.replaceAll('"', '""')}"`

/** A text as SQL. */
export const literal = (text: string) => `'${text.replaceAll("'", "''")}'`

/** A table or view as SQL. */
export const qualified = (schema: string, table: string) => `${quoted(schema)}.${quoted(table)}`
