import type { DataOf } from '../../../schemas/declare/event.ts'
import type { modelPublished } from '../../../schemas/events/model.ts'
import { type ModelDtype, NotOnnxError, type OnnxValue, readOnnx } from './onnx-file.ts'

/** An input or output, as a manifest names it. */
export type DeclaredTensor = Omit<DataOf<typeof modelPublished>['inputs'][number], 'file'>

/** Of one run of a model. Inferred: 4,096 rows of 16,384 numbers. */
export const MAX_TENSOR_BYTES = 256 * 1024 * 1024

const WIDTHS: Readonly<Record<ModelDtype, number>> = {
  float16: 2,
  float32: 4,
  float64: 8,
  int32: 4,
  int64: 8,
  uint8: 1,
  bool: 1,
}

/**
 * What is wrong with an ONNX file, before it is loaded: that it is none, has data outside of it, uses operators that
 * are not ONNX's own, or has other inputs and outputs than its manifest says.
 *
 * @returns a sentence for each fault; empty: nothing
 */
export function onnxFaults(
  bytes: Uint8Array,
  declared: { readonly inputs: readonly DeclaredTensor[]; readonly outputs: readonly DeclaredTensor[] },
): string[] {
  try {
    const file = readOnnx(bytes)
    return [
      ...file.external_tensors.map((name) => `tensor ${name}: expected its data in the file, found it outside`),
      ...file.foreign_operators.map((name) => `operator ${name}: expected operators of ONNX alone (domain "")`),
      ...valueFaults('input', file.inputs, declared.inputs),
      ...valueFaults('output', file.outputs, declared.outputs),
    ]
  } catch (error) {
    if (error instanceof NotOnnxError) return [error.message]
    throw error
  }
}

function valueFaults(kind: 'input' | 'output', found: readonly OnnxValue[], declared: readonly DeclaredTensor[]) {
  const names = (values: readonly { readonly name: string }[]) => values.map(({ name }) => name).join(', ') || 'none'
  if (declared.length !== found.length || found.some(({ name }) => declared.every((one) => one.name !== name))) {
    return [`${kind}s: the manifest has ${names(declared)}, the file ${names(found)}`]
  }
  return found.flatMap((value) => {
    const expected = declared.find(({ name }) => name === value.name)
    return expected === undefined ? [] : tensorFaults(`${kind} ${value.name}`, value, expected, kind === 'input')
  })
}

function tensorFaults(what: string, found: OnnxValue, expected: DeclaredTensor, is_exact: boolean): string[] {
  const faults: string[] = []
  if (found.dtype !== expected.dtype) {
    faults.push(`${what}: the manifest has the type ${expected.dtype}, the file ${found.dtype ?? 'another kind'}`)
  }
  const bytes = bytesOf(expected)
  if (bytes > MAX_TENSOR_BYTES) {
    faults.push(`${what}: expected at most ${MAX_TENSOR_BYTES} bytes, the manifest allows ${bytes}`)
  }
  const { shape } = found
  const differs = (size: number | string, at: number) =>
    typeof size === 'number' && (is_exact ? size !== expected.shape[at] : size > (expected.shape[at] as number))
  if (shape !== undefined && (shape.length !== expected.shape.length || shape.some(differs))) {
    const most = is_exact ? '' : ' at most'
    faults.push(`${what}: the manifest has${most} ${shapeText(expected.shape)}, the file ${shapeText(shape)}`)
  }
  return faults
}

export const bytesOf = ({ dtype, shape }: Pick<DeclaredTensor, 'dtype' | 'shape'>): number =>
  shape.reduce((product, size) => product * size, WIDTHS[dtype])

export const shapeText = (shape: readonly (number | string)[]) => `[${shape.join(', ')}]`
