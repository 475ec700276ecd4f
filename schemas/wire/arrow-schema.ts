import { Field as ArrowField, Schema } from 'apache-arrow'
import type { Field, Fields } from '../declare/logical-types.ts'
import { physical } from './type-table.ts'

/** The Arrow field of a declared field; tensors carry the canonical `arrow.fixed_shape_tensor` extension. */
export function arrowField(name: string, { logical, nullable }: Field): ArrowField {
  const type = physical(logical)
  const metadata = type.arrowMetadata(logical)
  return new ArrowField(name, type.arrow(logical, arrowField), nullable, metadata && new Map(metadata))
}

/** The Arrow schema of an event's rows. */
export function arrowSchemaOf(fields: Fields, metadata: ReadonlyMap<string, string> = new Map()): Schema {
  const columns = Object.entries(fields).map(([name, field]) => arrowField(name, field))
  return new Schema(columns, new Map(metadata))
}
