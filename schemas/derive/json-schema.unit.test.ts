import fc from 'fast-check'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { catalogue } from '../../streams/vocabulary.ts'
import { arbitraryData, eventOf, everyTypeFact } from '../conformance/arbitrary.ts'
import { clockTicked } from '../events/clock.ts'
import { encodeEvent } from '../wire/codec.ts'
import { jsonSchemaOf } from './json-schema.ts'

test('has every field with its meaning, and allows no other', () => {
  expect(jsonSchemaOf(clockTicked)).toMatchInlineSnapshot(`
    {
      "$id": "plumbline:clock.ticked/1/4a6d52d0a29c0280",
      "$schema": "https://json-schema.org/draft/2020-12/schema",
      "additionalProperties": false,
      "description": "The time of one clock has come this far. The only thing that fires timers.",
      "properties": {
        "clock": {
          "description": "which clock",
          "enum": [
            "virtual",
            "wall",
          ],
          "type": "string",
        },
        "tick": {
          "description": "clock and time, unique",
          "maxLength": 1024,
          "type": "string",
        },
        "time": {
          "description": "every event of this clock up to here may have been seen",
          "format": "date-time",
          "type": "string",
        },
      },
      "required": [
        "tick",
        "clock",
        "time",
      ],
      "title": "clock.ticked v1",
      "type": "object",
    }
  `)
})

/** zod reads the JSON Schema back: an independent implementation. */
const checkOf = (type: Parameters<typeof jsonSchemaOf>[0]) => {
  const { $id: _, $schema: __, ...schema } = jsonSchemaOf(type)
  return z.fromJSONSchema(schema as Parameters<typeof z.fromJSONSchema>[0])
}

test.each([...catalogue.filter(({ encoding }) => encoding === 'json'), everyTypeFact])(
  'what $type is encoded as satisfies its JSON Schema',
  (type) => {
    const check = checkOf(type)
    fc.assert(
      fc.property(arbitraryData(type), (data) => {
        const json: unknown = JSON.parse(Buffer.from(encodeEvent(type, eventOf(type, data)).value).toString())
        expect(check.safeParse(json).error).toBeUndefined()
        expect(check.safeParse({ ...(json as object), more: 1 }).success).toBe(false)
      }),
      { numRuns: 30 },
    )
  },
)
