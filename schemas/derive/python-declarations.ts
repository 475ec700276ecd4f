import type { EventType } from '../declare/event.ts'
import { dataSchemaUri } from '../wire/fingerprint.ts'
import { pyarrowSchemaOf } from './python-reader.ts'

/** A Python module with what a program needs to read and write these events in a log: `BY_TYPE`. */
export function pythonDeclarationsOf(types: readonly EventType[]): string {
  const entries = types.map((type) => {
    const schema = type.encoding === 'arrow' ? indented(pyarrowSchemaOf(type)) : 'None'
    return `    "${type.type}": Declaration(
        "${dataSchemaUri(type)}",
        ${schema},
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


BY_TYPE: dict[str, Declaration] = {
${entries.join('')}}
`
}

const indented = (text: string) => text.replaceAll('\n', '\n        ')
