import {
  Field as ArrowField,
  type Data,
  type DataType,
  FixedSizeList,
  Float16,
  Float32,
  Float64,
  Int32,
  Uint8,
} from 'apache-arrow'
import { z } from 'zod'
import type { Field, Logical } from '../declare/logical-types.ts'
import {
  type StoredColumn,
  type TensorArray,
  type TensorDtype,
  TensorRef,
  type TensorValue,
} from '../declare/tensor-value.ts'
import { columnOf, readTensors, type TensorArrayType, viewTensorAt } from './arrow-columns.ts'
import type { CanonicalBytes } from './canonical-bytes.ts'
import type { PhysicalType } from './physical-type.ts'
import { allFinite } from './tensor-passes.ts'

type Tensor = Extract<Logical, { kind: 'tensor' }>

interface Element {
  readonly ArrayType: TensorArrayType
  readonly arrow: () => DataType
  readonly duckdb: string
  readonly pyarrow: string
  readonly json: 'integer' | 'number'
  readonly canonical: (bytes: CanonicalBytes, value: number) => void
}

/** The representations of an element, by dtype; the tensor's row in `type-table.ts` serves all of them. */
const elements: { readonly [D in TensorDtype]: Element } = {
  uint8: {
    ArrayType: Uint8Array,
    arrow: () => new Uint8(),
    duckdb: 'UTINYINT',
    pyarrow: 'pa.uint8()',
    json: 'integer',
    canonical: (bytes, v) => bytes.uint8(v),
  },
  int32: {
    ArrayType: Int32Array,
    arrow: () => new Int32(),
    duckdb: 'INTEGER',
    pyarrow: 'pa.int32()',
    json: 'integer',
    canonical: (bytes, v) => bytes.int32(v),
  },
  float16: {
    ArrayType: Float16Array,
    arrow: () => new Float16(),
    // DuckDB has no such type; every float16 is a float32.
    duckdb: 'FLOAT',
    pyarrow: 'pa.float16()',
    json: 'number',
    canonical: (bytes, v) => bytes.float32(v),
  },
  float32: {
    ArrayType: Float32Array,
    arrow: () => new Float32(),
    duckdb: 'FLOAT',
    pyarrow: 'pa.float32()',
    json: 'number',
    canonical: (bytes, v) => bytes.float32(v),
  },
  float64: {
    ArrayType: Float64Array,
    arrow: () => new Float64(),
    duckdb: 'DOUBLE',
    pyarrow: 'pa.float64()',
    json: 'number',
    canonical: (bytes, v) => bytes.float64(v),
  },
}

/** The logical type that shows and compares an element: uint8 and float16 have none of their own. */
const ELEMENT = { uint8: 'int32', int32: 'int32', float16: 'float32', float32: 'float32', float64: 'float64' } as const

const sizeOf = ({ shape }: Tensor) => shape.reduce((product, extent) => product * extent, 1)

/** Whether a value is a tensor of this type, or a reference to one. Without a call per element: there may be millions. */
export function isTensorOf(tensor: Tensor): (value: unknown) => boolean {
  const { ArrayType } = elements[tensor.dtype]
  const size = sizeOf(tensor)
  return (value) => {
    if (value instanceof TensorRef) return isStoredAs(tensor, value.column)
    return value instanceof ArrayType && value.length === size && allFinite(value)
  }
}

/** One tensor of a column of this type, as a view of it. */
export function tensorAt(tensor: Tensor, column: Data, row: number): TensorArray {
  return viewTensorAt(column, row, sizeOf(tensor), elements[tensor.dtype].ArrayType)
}

/** Whether a stored column has tensors of this dtype and shape. */
export function isStoredAs({ dtype, shape }: Tensor, { type }: StoredColumn): boolean {
  const stored = type as { readonly kind?: unknown; readonly dtype?: unknown; readonly shape?: unknown } | null
  if (stored?.kind !== 'tensor' || stored.dtype !== dtype || !Array.isArray(stored.shape)) return false
  if (stored.shape.length !== shape.length) return false
  for (let axis = 0; axis < shape.length; axis++) if (stored.shape[axis] !== shape[axis]) return false
  return true
}

export const tensorType: PhysicalType<Tensor, TensorValue> = {
  zod: (tensor) => {
    const { ArrayType } = elements[tensor.dtype]
    const size = sizeOf(tensor)
    return z.custom<TensorValue>(isTensorOf(tensor), {
      error: `a ${ArrayType.name} of ${size} finite elements, shape [${tensor.shape.join(', ')}]`,
    })
  },
  jsonSchema: (tensor) => {
    const size = sizeOf(tensor)
    return { type: 'array', items: { type: elements[tensor.dtype].json }, minItems: size, maxItems: size }
  },
  toJson: () => (value) => (value instanceof TensorRef ? { ...value.column, row: value.row } : Array.from(value)),
  fromJson:
    ({ dtype }) =>
    (json) => {
      if (!Array.isArray(json)) return json
      const value = elements[dtype].ArrayType.from(json)
      // A typed array silently wraps or rounds what does not fit. Then pass on the plain array: validation rejects it.
      return json.every((element, at) => element === value[at]) ? value : json
    },
  // Nullable elements, as in pyarrow's fixed_shape_tensor: pyarrow compares types by nullability too.
  arrow: (tensor) => new FixedSizeList(sizeOf(tensor), new ArrowField('item', elements[tensor.dtype].arrow(), true)),
  arrowMetadata: ({ shape }) =>
    new Map([
      ['ARROW:extension:name', 'arrow.fixed_shape_tensor'],
      ['ARROW:extension:metadata', JSON.stringify({ shape })],
    ]),
  arrowWrite: (tensor, _of, type) => {
    const { ArrayType } = elements[tensor.dtype]
    const size = sizeOf(tensor)
    const item = (type as FixedSizeList).valueType
    return (values) => {
      // The codec passes references on without this.
      const arrays = values as readonly TensorArray[]
      const [first] = arrays
      const flat = arrays.length === 1 && first !== undefined ? first : new ArrayType(arrays.length * size)
      if (flat !== first) for (const [at, value] of arrays.entries()) flat.set(value, at * size)
      return { children: [columnOf(item, flat.length, { values: flat }) as Data] }
    }
  },
  arrowRead: (tensor) => (data) => readTensors(data, sizeOf(tensor), elements[tensor.dtype].ArrayType),
  blank: (tensor) => new elements[tensor.dtype].ArrayType(sizeOf(tensor)),
  offloads: true,
  by_reference: true,
  // A flat row-major list, because DuckDB's fixed-size arrays are limited to 100,000 elements.
  duckdb: ({ dtype }) => `${elements[dtype].duckdb}[]`,
  pyarrow: ({ dtype, shape }) => `pa.fixed_shape_tensor(${elements[dtype].pyarrow}, [${shape.join(', ')}])`,
  canonical: ({ dtype }) => {
    const write = elements[dtype].canonical
    return (bytes, value) => {
      if (value instanceof TensorRef) {
        bytes.utf8(value.column.sha256)
        bytes.uint32(value.row)
      } else for (let at = 0; at < value.length; at++) write(bytes, value[at] as number)
    }
  },
  parts: ({ dtype }, value) => {
    if (value instanceof TensorRef) return undefined
    const field: Field = { logical: { kind: ELEMENT[dtype] }, about: '', nullable: false }
    return Array.from(value, (element, at) => ({ segment: `[${at}]`, field, value: element }))
  },
  unbounded: (tensor) => tensor,
  bounds: () => undefined,
  declared: ({ dtype, shape }) => ({ kind: 'tensor', dtype, shape }),
}
