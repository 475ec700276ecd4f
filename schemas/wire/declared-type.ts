import { Utf8 } from 'apache-arrow'
import { z } from 'zod'
import { fieldsOfValue, upcastValue, VALUE_NAME, valueTypeOf, valueTypes } from '../declare/declared-value.ts'
import {
  type DeclaredValue,
  type Field,
  type Fields,
  int32,
  type Logical,
  struct,
  utf8,
} from '../declare/logical-types.ts'
import { perObject } from '../declare/per-object.ts'
import { readTexts, writeTexts } from './arrow-columns.ts'
import { keysSorted } from './keys-sorted.ts'
import type { Json, PhysicalType } from './physical-type.ts'
import { closedObject } from './record-type.ts'

type Declared = Extract<Logical, { kind: 'declared' }>

/** What is compiled for the fields of a value's own declaration; undefined where this process does not know it. */
export function byDeclaration<T>(compile: (field: Field) => T): (declared: DeclaredValue) => T | undefined {
  const of = perObject((fields: Fields) => compile(struct(fields)))
  return (declared) => {
    const fields = fieldsOfValue(declared)
    return fields && of(fields)
  }
}

/** With its bounds. */
export const asDeclared = (field: Field) => field

export const isVersion = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 1

const outer = z.strictObject(
  {
    declaration: z.string({ error: 'the name of a declaration, family.noun' }).regex(VALUE_NAME, {
      error: 'the name of a declaration, family.noun',
    }),
    version: z.custom<number>(isVersion, { error: 'the version of a declaration, 1 or more' }),
    value: z.custom<Record<string, unknown>>(isObject, { error: 'an object' }),
  },
  { error: 'an object with declaration, version, value' },
)

export function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A version that this process does not know of a declaration that it knows. */
export function unknownVersion({ declaration, version }: DeclaredValue): string | undefined {
  const type = valueTypeOf(declaration)
  if (type === undefined || fieldsOfValue({ declaration, version, value: {} }) !== undefined) return undefined
  const oldest = type.earlier[0]?.version ?? type.version
  return `a version of ${declaration} that this program reads, ${oldest} to ${type.version}`
}

/** The problem of a value, with its path in the declared value. */
const inside = (issue: z.core.$ZodIssue) =>
  ({ ...issue, path: ['value', ...issue.path] }) as Parameters<z.core.$RefinementCtx['addIssue']>[0]

const compact = (value: unknown) => JSON.stringify(keysSorted(value as Json))

export const declaredType: PhysicalType<Declared, DeclaredValue> = {
  zod: ({ loosened = asDeclared }, of) => {
    const checkOf = byDeclaration((field) => of(loosened(field)))
    return outer.superRefine((declared, context) => {
      const message = unknownVersion(declared)
      if (message !== undefined) context.addIssue({ code: 'custom', message, path: ['version'] })
      const [issue] = checkOf(declared)?.safeParse(declared.value).error?.issues ?? []
      if (issue !== undefined) context.addIssue(inside(issue))
    })
  },
  jsonSchema: (_, of) => {
    const types = valueTypes()
    const known = types.map(({ name, version, fields, about }) =>
      closedObject({
        declaration: { const: name },
        version: { const: version },
        value: of({ ...struct(fields), about }),
      }),
    )
    const names = types.map(({ name }) => name.replace('.', '\\.')).join('|')
    const other = `^(?!(${names})$)${VALUE_NAME.source.slice(1)}`
    const foreign = closedObject({
      declaration: { type: 'string', pattern: names === '' ? VALUE_NAME.source : other },
      version: { type: 'integer', minimum: 1 },
      value: { type: 'object' },
    })
    return { anyOf: [...known, foreign] }
  },
  toJson: (_, of) => {
    const writeOf = byDeclaration(of)
    return (declared) => {
      const { declaration, version, value } = declared
      const toJson = writeOf(declared)
      return { declaration, version, value: toJson === undefined ? keysSorted(value as Json) : toJson(value) }
    }
  },
  fromJson: () => undefined,
  upcast: () => upcastValue,
  // As text: each value of a column can have other fields.
  arrow: () => new Utf8(),
  arrowMetadata: () => undefined,
  arrowWrite: () => (values) => writeTexts(values.map(compact)),
  arrowRead: () => (data) => readTexts(data).map((text) => JSON.parse(text) as DeclaredValue),
  blank: () => ({ declaration: '', version: 0, value: {} }),
  offloads: false,
  by_reference: false,
  duckdb: () => 'STRUCT(declaration VARCHAR, "version" INTEGER, "value" JSON)',
  pyarrow: () => 'pa.utf8()',
  canonical: (_, of) => {
    const writeOf = byDeclaration(of)
    return (bytes, declared) => {
      bytes.utf8(declared.declaration)
      bytes.int32(declared.version)
      const write = writeOf(declared)
      if (write === undefined) bytes.utf8(compact(declared.value))
      else write(bytes, declared.value)
    }
  },
  parts: (_, declared) => {
    const fields = fieldsOfValue(declared)
    return [
      { segment: '.declaration', field: utf8(), value: declared.declaration },
      { segment: '.version', field: int32(), value: declared.version },
      ...(fields === undefined ? [] : [{ segment: '.value', field: struct(fields), value: declared.value }]),
    ]
  },
  unbounded: (_, of) => ({ kind: 'declared', loosened: of }),
  bounds: () => undefined,
  declared: () => ({ kind: 'declared' }),
}
