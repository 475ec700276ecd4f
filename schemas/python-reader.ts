import type { EventType } from './event.ts'
import { dataSchemaUri } from './fingerprint.ts'
import type { Field } from './logical-types.ts'
import { physical } from './physical-types.ts'

/** The rows of an event as a pyarrow schema: Python source, an expression over `import pyarrow as pa`. */
export function pyarrowSchemaOf(type: EventType): string {
  const fields = Object.entries(type.row).map(([name, field]) => `    ${pyarrowField(name, field)},\n`)
  return `pa.schema([\n${fields.join('')}])`
}

/** A Python module that reads what the codec writes: `schema`, and `read(value)` → pyarrow.Table. */
export function pythonReaderOf(type: EventType): string {
  return `"""${type.type} v${type.version}: ${type.about}

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
