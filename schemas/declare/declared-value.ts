import { type DeclaredValue, FIELD_NAME, type Fields, kindIn, type RowOf } from './logical-types.ts'
import { isSameDeclaration } from './registry.ts'
import { expectConsecutive, throughSteps } from './upcast-steps.ts'

/**
 * Values that a domain declares and events of no domain hold: the state that a rollout starts from. Such an event has a
 * field of the logical type `declared`; what stands in it names its declaration and version, as a record does its event
 * type. A program without the declaration passes the value on as it is.
 */

export interface EarlierValue {
  readonly version: number
  readonly fields: Fields
  /** Turns a value of this version into one of the next. Pure. */
  readonly upcast: (value: Record<string, unknown>) => Record<string, unknown>
}

export interface ValueType<R extends Fields = Fields> {
  /** `family.noun` in snake_case. */
  readonly name: string
  readonly version: number
  readonly about: string
  readonly fields: R
  /** Oldest first; each upcasts to the next, the last one to `version`. */
  readonly earlier: readonly EarlierValue[]
}

export const VALUE_NAME = /^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$/

/** Every declaration of this process, as loading its module makes it known. */
const known = new Map<string, ValueType>()

/**
 * Declares a value, for every codec of this process.
 *
 * @throws Error when a name is not snake_case, versions are not consecutive, or another declaration has the name.
 */
export function defineValue<const R extends Fields>(
  declared: Omit<ValueType<R>, 'earlier'> & { readonly earlier?: readonly EarlierValue[] },
): ValueType<R> {
  const type: ValueType<R> = { ...declared, earlier: declared.earlier ?? [] }
  const fail = (problem: string): never => {
    throw new Error(`value ${type.name} v${type.version}: ${problem}`)
  }
  if (!VALUE_NAME.test(type.name)) fail('expected a name family.noun in snake_case')
  for (const [name, { logical }] of Object.entries(type.fields)) {
    if (!FIELD_NAME.test(name)) fail(`field ${name}: expected snake_case`)
    // The value is JSON wherever it is stored.
    const unfit = kindIn(logical, ['tensor', 'declared'])
    if (unfit !== undefined) fail(`field ${name}: expected no ${unfit}; put it into an event of its own`)
  }
  expectConsecutive(type.earlier, type.version, fail)
  const other = known.get(type.name)
  if (other !== undefined && !isSameDeclaration(other, type)) fail('another declaration has this name')
  known.set(type.name, type)
  return type
}

export const valueTypeOf = (name: string): ValueType | undefined => known.get(name)

/** Declarations of this process, by name. */
export const valueTypes = (): readonly ValueType[] => [...known.values()].sort((a, b) => (a.name < b.name ? -1 : 1))

export function declaredAs<R extends Fields>(type: ValueType<R>, value: RowOf<R>): DeclaredValue {
  return { declaration: type.name, version: type.version, value }
}

/** The value, if it has this declaration. Of a decoded event: it is valid, and upcast. */
export function valueAs<R extends Fields>(declared: DeclaredValue, type: ValueType<R>): RowOf<R> | undefined {
  return declared.declaration === type.name ? (declared.value as RowOf<R>) : undefined
}

/** The fields of one version; undefined for one that this process does not know. */
export function fieldsOfValue({ declaration, version }: DeclaredValue): Fields | undefined {
  const type = known.get(declaration)
  if (type === undefined) return undefined
  return version === type.version ? type.fields : type.earlier.find((step) => step.version === version)?.fields
}

/**
 * A value of an earlier version as one of the current version; any other as it is.
 *
 * @throws Error when an upcaster throws, naming it
 */
export function upcastValue(declared: DeclaredValue): DeclaredValue {
  const type = known.get(declared.declaration)
  if (type === undefined || declared.version >= type.version) return declared
  const { name, version, earlier } = type
  const steps = earlier.filter((step) => step.version >= declared.version)
  return { declaration: name, version, value: throughSteps(`value ${name}`, steps, declared.value) }
}
