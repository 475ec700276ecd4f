import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'
import type { MODEL_DTYPES } from '../../../schemas/events/model.ts'

export type ModelDtype = (typeof MODEL_DTYPES)[number]

/** An input or output of a graph, as its file declares it. */
export interface OnnxValue {
  readonly name: string
  /** Undefined: a type that no tensor of an event has. */
  readonly dtype: ModelDtype | undefined
  /** A name stands for a size that is known at run time only. Undefined: the file does not say. */
  readonly shape: readonly (number | string)[] | undefined
}

/** What an ONNX file says of itself. */
export interface OnnxFile {
  /** Without those that are constants with a default. */
  readonly inputs: readonly OnnxValue[]
  readonly outputs: readonly OnnxValue[]
  /** Operators that are neither ONNX's own nor functions of the file, as `domain.Operator`. */
  readonly foreign_operators: readonly string[]
  /** Tensors whose data is in another file. */
  readonly external_tensors: readonly string[]
}

/** The file is no ONNX model. */
export class NotOnnxError extends Error {
  override readonly name = 'NotOnnxError'
  readonly retry = 'never'
}

/**
 * Reads the structure of an ONNX file without loading it: the weights are passed over. Field numbers are those of
 * onnx.proto3 (ONNX 1.19); unknown fields are skipped, as protobuf has it.
 *
 * @throws NotOnnxError
 */
export function readOnnx(bytes: Uint8Array): OnnxFile {
  try {
    return new Structure().read(bytes)
  } catch (error) {
    if (error instanceof NotOnnxError) throw error
    throw new NotOnnxError(`expected an ONNX model, found what cannot be read as one: ${(error as Error).message}`)
  }
}

/** Element types by their number in onnx.TensorProto. */
const DTYPES: Readonly<Record<number, ModelDtype>> = {
  1: 'float32',
  2: 'uint8',
  6: 'int32',
  7: 'int64',
  9: 'bool',
  10: 'float16',
  11: 'float64',
}
/** The operators of ONNX itself; the two are one. */
const OWN_DOMAINS = new Set(['', 'ai.onnx'])
/** Graphs within graphs, of `If` and `Loop`. Inferred: exporters nest a few. */
const MAX_DEPTH = 32
/** Inferred: an operator takes some twenty bytes, and the largest language models have some ten thousand. */
const MAX_NODES = 1_000_000
/** How many of a kind of fault are named. */
const NAMED = 8

type Fields = Readonly<Record<number, (reader: BinaryReader) => void>>

/** Calls the function of each length-delimited or number field that has one, and skips the others. */
function eachField(bytes: Uint8Array, fields: Fields): void {
  const reader = new BinaryReader(bytes)
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag()
    const read = fields[field]
    if (read === undefined || (type !== WireType.LengthDelimited && type !== WireType.Varint)) reader.skip(type, field)
    else read(reader)
  }
}

class Structure {
  readonly #operators = new Map<string, { readonly domain: string; readonly operator: string }>()
  readonly #functions = new Set<string>()
  readonly #external: string[] = []
  #nodes = 0
  #has_graph = false

  read(bytes: Uint8Array): OnnxFile {
    const inputs: OnnxValue[] = []
    const outputs: OnnxValue[] = []
    const constants = new Set<string>()
    let ir_version = 0
    eachField(bytes, {
      1: (reader) => {
        ir_version = Number(reader.int64())
      },
      7: (reader) => {
        this.#has_graph = true
        this.#graph(reader.bytes(), 0, { inputs, outputs, constants })
      },
      25: (reader) => this.#function(reader.bytes()),
    })
    if (!this.#has_graph || ir_version < 1 || outputs.length === 0) {
      throw new NotOnnxError('expected an ONNX model, found no graph with outputs')
    }
    const foreign = [...this.#operators].flatMap(([name, { domain }]) =>
      OWN_DOMAINS.has(domain) || this.#functions.has(name) ? [] : [name],
    )
    return {
      inputs: inputs.filter(({ name }) => !constants.has(name)),
      outputs,
      foreign_operators: foreign.slice(0, NAMED),
      external_tensors: this.#external.slice(0, NAMED),
    }
  }

  #graph(
    bytes: Uint8Array,
    depth: number,
    into?: { inputs: OnnxValue[]; outputs: OnnxValue[]; constants: Set<string> },
  ): void {
    if (depth > MAX_DEPTH) throw new NotOnnxError(`expected graphs nested at most ${MAX_DEPTH} deep`)
    eachField(bytes, {
      1: (reader) => this.#node(reader.bytes(), depth),
      5: (reader) => {
        const name = this.#tensor(reader.bytes())
        into?.constants.add(name)
      },
      11: (reader) => void into?.inputs.push(valueIn(reader.bytes())),
      12: (reader) => void into?.outputs.push(valueIn(reader.bytes())),
      15: (reader) => this.#sparse(reader.bytes()),
    })
  }

  #node(bytes: Uint8Array, depth: number): void {
    if (++this.#nodes > MAX_NODES) throw new NotOnnxError(`expected at most ${MAX_NODES} operators`)
    let domain = ''
    let operator = ''
    eachField(bytes, {
      4: (reader) => {
        operator = reader.string()
      },
      5: (reader) => this.#attribute(reader.bytes(), depth),
      7: (reader) => {
        domain = reader.string()
      },
    })
    this.#operators.set(nameOf(domain, operator), { domain, operator })
  }

  #attribute(bytes: Uint8Array, depth: number): void {
    const tensor = (reader: BinaryReader) => void this.#tensor(reader.bytes())
    const graph = (reader: BinaryReader) => this.#graph(reader.bytes(), depth + 1)
    const sparse = (reader: BinaryReader) => this.#sparse(reader.bytes())
    eachField(bytes, { 5: tensor, 6: graph, 10: tensor, 11: graph, 22: sparse, 23: sparse })
  }

  #function(bytes: Uint8Array): void {
    let domain = ''
    let name = ''
    eachField(bytes, {
      1: (reader) => {
        name = reader.string()
      },
      7: (reader) => this.#node(reader.bytes(), 0),
      10: (reader) => {
        domain = reader.string()
      },
      11: (reader) => this.#attribute(reader.bytes(), 0),
    })
    this.#functions.add(nameOf(domain, name))
  }

  #sparse(bytes: Uint8Array): void {
    const tensor = (reader: BinaryReader) => void this.#tensor(reader.bytes())
    eachField(bytes, { 1: tensor, 2: tensor })
  }

  #tensor(bytes: Uint8Array): string {
    let name = ''
    let is_external = false
    eachField(bytes, {
      8: (reader) => {
        name = reader.string()
      },
      13: (reader) => {
        reader.bytes()
        is_external = true
      },
      14: (reader) => {
        const is_elsewhere = reader.int32() !== 0
        is_external ||= is_elsewhere
      },
    })
    if (is_external) this.#external.push(name)
    return name
  }
}

const nameOf = (domain: string, operator: string) => `${domain}.${operator}`

function valueIn(bytes: Uint8Array): OnnxValue {
  let name = ''
  let dtype: ModelDtype | undefined
  let shape: (number | string)[] | undefined
  const dimension = (reader: BinaryReader) => {
    let size: number | string = ''
    eachField(reader.bytes(), {
      1: (inner) => {
        size = Number(inner.int64())
      },
      2: (inner) => {
        size = inner.string()
      },
    })
    shape?.push(size)
  }
  eachField(bytes, {
    1: (reader) => {
      name = reader.string()
    },
    2: (type) =>
      eachField(type.bytes(), {
        1: (tensor) =>
          eachField(tensor.bytes(), {
            1: (reader) => {
              dtype = DTYPES[reader.int32()]
            },
            2: (reader) => {
              shape = []
              eachField(reader.bytes(), { 1: dimension })
            },
          }),
      }),
  })
  return { name, dtype, shape }
}
