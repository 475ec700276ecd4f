import type { EventType } from '../declare/event.ts'
import type { Fields } from '../declare/logical-types.ts'
import { dataSchemaUri, versionsOf } from '../wire/fingerprint.ts'
import { pyarrowSchemaOf } from './python-reader.ts'

/** A Python module with what a program needs to read and write these events in a log: `BY_TYPE`. */
export function pythonDeclarationsOf(types: readonly EventType[]): string {
  const entries = types.map((type) => {
    const schema = type.encoding === 'arrow' ? indented(pyarrowSchemaOf(type)) : 'None'
    return `    "${type.type}": Declaration(
        "${dataSchemaUri(type)}",
        ${schema},${alike(type)}
    ),
`
  })
  return `# Made from the declarations in schemas/events by \`npm run docs\`; do not edit.
# fmt: off
# ruff: noqa: E501
from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa


class Declaration(NamedTuple):
    uri: str
    """\`ce_dataschema\`: type, version and the beginning of the fingerprint."""
    schema: pa.Schema | None
    """Of a batch; a fact is JSON and has none."""
    alike: tuple[str, ...] = ()
    """Earlier versions, whose rows are read as those of this one."""


BY_TYPE: dict[str, Declaration] = {
${entries.join('')}}
`
}

/** Versions whose values stay as they are, under the same fields: a closed list of texts has grown since. */
function alike(type: EventType): string {
  const shape = (row: Fields) => pyarrowSchemaOf({ ...type, row })
  const from = type.earlier.findLastIndex(({ upcast, row, routing = type.routing }) => {
    return upcast !== undefined || routing !== type.routing || shape(row) !== shape(type.row)
  })
  const uris = versionsOf(type)
    .slice(from + 1, -1)
    .map((version) => `"${dataSchemaUri(type, version)}"`)
  return uris.length === 0 ? '' : `\n        (${uris.join(', ')},),`
}

const indented = (text: string) => text.replaceAll('\n', '\n        ')
