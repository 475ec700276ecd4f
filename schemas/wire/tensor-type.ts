import {
  Field as ArrowField,
  type Data,
  type DataType,
  FixedSizeList,
  Float32,
  Float64,
  Int32,
  Uint8,
} from 'apache-arrow'
import { z } from 'zod'
import type { Field, Logical, TensorArray, TensorDtype } from '../declare/logical-types.ts'
import { columnOf, readTensors } from './arrow-columns.ts'
import type { CanonicalBytes } from './canonical-bytes.ts'
import type { PhysicalType } from './physical-type.ts'

type Tensor = Extract<Logical, { kind: 'tensor' }>

interface Element {
  readonly ArrayType: { new (length: number): TensorArray; from(values: readonly number[]): TensorArray }
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

const sizeOf = ({ shape }: Tensor) => shape.reduce((product, extent) => product * extent, 1)

export const tensorType: PhysicalType<Tensor, TensorArray> = {
  zod: (tensor) => {
    const { ArrayType } = elements[tensor.dtype]
    const size = sizeOf(tensor)
    const isTensor = (value: unknown) =>
      value instanceof ArrayType && value.length === size && value.every((element) => Number.isFinite(element))
    return z.custom<TensorArray>(isTensor, {
      error: `a ${ArrayType.name} of ${size} finite elements, shape [${tensor.shape.join(', ')}]`,
    })
  },
  jsonSchema: (tensor) => {
    const size = sizeOf(tensor)
    return { type: 'array', items: { type: elements[tensor.dtype].json }, minItems: size, maxItems: size }
  },
  toJson: () => (value) => Array.from(value),
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
      const flat = new ArrayType(values.length * size)
      values.forEach((value, at) => {
        flat.set(value, at * size)
      })
      return { children: [columnOf(item, flat.length, { values: flat }) as Data] }
    }
  },
  arrowRead: (tensor) => (data) => readTensors(data, sizeOf(tensor)),
  blank: (tensor) => new elements[tensor.dtype].ArrayType(sizeOf(tensor)),
  offloads: true,
  // A flat row-major list, because DuckDB's fixed-size arrays are limited to 100,000 elements.
  duckdb: ({ dtype }) => `${elements[dtype].duckdb}[]`,
  pyarrow: ({ dtype, shape }) => `pa.fixed_shape_tensor(${elements[dtype].pyarrow}, [${shape.join(', ')}])`,
  canonical: ({ dtype }) => {
    const write = elements[dtype].canonical
    return (bytes, value) => {
      for (const element of value) write(bytes, element)
    }
  },
  // There is no logical type for uint8; int32 shows and compares its values correctly.
  parts: ({ dtype }, value) => {
    const field: Field = { logical: { kind: dtype === 'uint8' ? 'int32' : dtype }, about: '', nullable: false }
    return Array.from(value, (element, at) => ({ segment: `[${at}]`, field, value: element }))
  },
  unbounded: (tensor) => tensor,
  bounds: () => undefined,
  declared: ({ dtype, shape }) => ({ kind: 'tensor', dtype, shape }),
}
