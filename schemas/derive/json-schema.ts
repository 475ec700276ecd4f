import type { EventType } from '../declare/event.ts'
import type { Field } from '../declare/logical-types.ts'
import { dataSchemaUri } from '../wire/fingerprint.ts'
import type { JsonObject } from '../wire/physical-type.ts'
import { closedObject } from '../wire/record-type.ts'
import { physical } from '../wire/type-table.ts'

/** JSON Schema (2020-12) of one row: a fact's data, or a row of a batch as JSON. Every field is required. */
export function jsonSchemaOf(type: EventType): JsonObject {
  const fields = Object.entries(type.row).map(([name, field]) => [name, fieldSchema(field)])
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: dataSchemaUri(type),
    title: `${type.type} v${type.version}`,
    description: type.about,
    ...(type.row_key.length === 0 ? {} : { $comment: `rows of one event differ in ${type.row_key.join(', ')}` }),
    ...closedObject(Object.fromEntries(fields)),
  }
}

/** A null must be written out: a missing field is never read as null. */
function fieldSchema({ logical, nullable, about }: Field): JsonObject {
  const schema = physical(logical).jsonSchema(logical, fieldSchema)
  const described = about === '' ? {} : { description: about }
  return nullable ? { ...described, anyOf: [schema, { type: 'null' }] } : { ...described, ...schema }
}
