/**
 * ONNX files of a few bytes, for tests: a graph of some operators, as protobuf. Field numbers are those of onnx.proto3.
 */

/** Element types of onnx.TensorProto. */
const TYPES = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9, float16: 10, float64: 11 } as const
type Type = keyof typeof TYPES

export interface TinyValue {
  readonly name: string
  readonly type: Type
  /** A name stands for a size that is known at run time only. */
  readonly shape: readonly (number | string)[]
}

export interface TinyModel {
  readonly nodes: readonly {
    readonly op: string
    readonly inputs: readonly string[]
    readonly outputs: readonly string[]
    readonly domain?: string
    /** Whole numbers only. */
    readonly attributes?: Readonly<Record<string, number>>
  }[]
  readonly inputs: readonly TinyValue[]
  readonly outputs: readonly TinyValue[]
  readonly constants?: readonly {
    readonly name: string
    readonly shape: readonly number[]
    readonly data: Float32Array | BigInt64Array
    /** The data is said to be in this file. */
    readonly location?: string
  }[]
}

export function tinyOnnx({ nodes, inputs, outputs, constants = [] }: TinyModel): Uint8Array {
  const graph = [
    ...nodes.map(({ op, inputs: from, outputs: to, domain = '', attributes = {} }) =>
      message(1, [
        ...from.map((name) => text(1, name)),
        ...to.map((name) => text(2, name)),
        text(4, op),
        ...Object.entries(attributes).map(([name, value]) =>
          message(5, [text(1, name), number(3, value), number(20, 2)]),
        ),
        ...(domain === '' ? [] : [text(7, domain)]),
      ]),
    ),
    text(2, 'tiny'),
    ...constants.map(({ name, shape, data, location }) =>
      message(5, [
        ...shape.map((size) => number(1, size)),
        number(2, data instanceof Float32Array ? TYPES.float32 : TYPES.int64),
        text(8, name),
        ...(location === undefined
          ? [bytes(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength))]
          : [message(13, [text(1, 'location'), text(2, location)]), number(14, 1)]),
      ]),
    ),
    ...inputs.map((value) => message(11, valueInfo(value))),
    ...outputs.map((value) => message(12, valueInfo(value))),
  ]
  const opset = message(8, [text(1, ''), number(2, 17)])
  return Buffer.concat([number(1, 8), message(7, graph), opset])
}

/** `y = x · factor + offset`, for float32 of shape [n, 2]. */
export function linearOnnx(factor: number, offset: number): Uint8Array {
  const constant = (name: string, value: number) => ({ name, shape: [1], data: Float32Array.of(value) })
  return tinyOnnx({
    nodes: [
      { op: 'Mul', inputs: ['x', 'factor'], outputs: ['scaled'] },
      { op: 'Add', inputs: ['scaled', 'offset'], outputs: ['y'] },
    ],
    inputs: [{ name: 'x', type: 'float32', shape: ['n', 2] }],
    outputs: [{ name: 'y', type: 'float32', shape: ['n', 2] }],
    constants: [constant('factor', factor), constant('offset', offset)],
  })
}

function valueInfo({ name, type, shape }: TinyValue): Buffer[] {
  const dims = shape.map((size) => message(1, [typeof size === 'number' ? number(1, size) : text(2, size)]))
  return [text(1, name), message(2, [message(1, [number(1, TYPES[type]), message(2, dims)])])]
}

function varint(value: number): Buffer {
  const out: number[] = []
  let left = BigInt(value)
  do {
    const low = Number(left & 127n)
    left >>= 7n
    out.push(left === 0n ? low : low | 128)
  } while (left !== 0n)
  return Buffer.from(out)
}

const number = (field: number, value: number) => Buffer.concat([varint(field << 3), varint(value)])
const bytes = (field: number, value: Uint8Array) =>
  Buffer.concat([varint((field << 3) | 2), varint(value.byteLength), value])
const text = (field: number, value: string) => bytes(field, Buffer.from(value))
const message = (field: number, parts: readonly Buffer[]) => bytes(field, Buffer.concat(parts))
