import type { EventType } from '../declare/event.ts'
import type { Field } from '../declare/logical-types.ts'
import { dataSchemaUri } from '../wire/fingerprint.ts'
import { physical } from '../wire/type-table.ts'

/** The pyarrow schema of an event's rows: Python source, an expression that needs `import pyarrow as pa`. */
export function pyarrowSchemaOf(type: EventType): string {
  const fields = Object.entries(type.row).map(([name, field]) => {
    const bounds = boundsOf(field)
    return `    ${pyarrowField(name, field)},${bounds === undefined ? '' : `  # ${bounds}`}\n`
  })
  return `pa.schema([\n${fields.join('')}])`
}

/** A Python module that decodes the codec's output: `schema`, and `read(value)` → pyarrow.Table. */
export function pythonReaderOf(type: EventType): string {
  const key = type.row_key.length === 0 ? '' : `\nRows of one event differ in ${type.row_key.join(', ')}.\n`
  return `"""${type.type} v${type.version}: ${type.about}
${key}
Made from the declaration ${dataSchemaUri(type)}; do not edit.
"""

import pyarrow as pa

schema = ${pyarrowSchemaOf(type)}


def read(value):
    """The rows of one record's value, an Arrow IPC stream. Raises ValueError when it is not of this schema."""
    table = pa.ipc.open_stream(value).read_all()
    if not table.schema.equals(schema, check_metadata=False):
        raise ValueError(f"expected {schema}, got {table.schema}")
    return table
`
}

function pyarrowField(name: string, { logical, nullable }: Field): string {
  const type = physical(logical).pyarrow(logical, pyarrowField)
  return `pa.field("${name}", ${type}${nullable ? '' : ', nullable=False'})`
}

/** The bounds of a field and of its inner fields as text; undefined without any. */
export function boundsOf({ logical }: Field): string | undefined {
  return physical(logical).bounds(logical, boundsOf)
}
