import type { DataOf } from '../../../schemas/declare/event.ts'
import type { MODEL_FILES, modelPublished } from '../../../schemas/events/model.ts'
import { adapterConfigFaults, safetensorsFaults } from './check-adapter.ts'
import { onnxFaults } from './check-onnx.ts'

export type ModelFile = (typeof MODEL_FILES)[number]
export type ModelManifest = Pick<DataOf<typeof modelPublished>, 'base' | 'inputs' | 'outputs'>

/** Protobuf ends there. */
export const MAX_MODEL_BYTES = 2 ** 31 - 1

const ONNX_SETS = ['model.onnx', 'encoder.onnx,model.onnx']
const ADAPTER_SET = 'adapter_config.json,adapter_model.safetensors'

/**
 * Checks the files of a model against each other and against its manifest, before anything loads them. It does not
 * run them: whoever takes the model up does that, in a process of its own.
 *
 * @param files the bytes by name
 * @returns what is wrong, a sentence for each fault; empty when nothing is
 */
export function modelFaults(files: ReadonlyMap<ModelFile, Uint8Array>, manifest: ModelManifest): string[] {
  const faults = [...setFaults([...files.keys()], manifest), ...manifestFaults([...files.keys()], manifest)]
  for (const [name, bytes] of files) {
    if (bytes.byteLength > MAX_MODEL_BYTES) {
      faults.push(`${name}: expected at most ${MAX_MODEL_BYTES} bytes, found ${bytes.byteLength}`)
    } else faults.push(...fileFaults(name, bytes, manifest).map((fault) => `${name}: ${fault}`))
  }
  return faults
}

function setFaults(names: readonly ModelFile[], { base }: ModelManifest): string[] {
  const set = [...names].sort().join(',')
  if (set === ADAPTER_SET) {
    return base === null ? ['base: expected what the adapter is applied to, as the server names it'] : []
  }
  if (ONNX_SETS.includes(set)) return []
  return [
    `files: expected model.onnx, model.onnx with encoder.onnx, or adapter_model.safetensors with adapter_config.json; found ${set || 'none'}`,
  ]
}

function manifestFaults(names: readonly ModelFile[], { inputs, outputs }: ModelManifest): string[] {
  const unknown = [...inputs, ...outputs].filter(({ file }) => !names.includes(file)).map(({ file }) => file)
  return [...new Set(unknown)].map((file) => `inputs and outputs of ${file}: expected that file, it is not there`)
}

function fileFaults(name: ModelFile, bytes: Uint8Array, { base, inputs, outputs }: ModelManifest): string[] {
  if (name === 'adapter_model.safetensors') return safetensorsFaults(bytes)
  if (name === 'adapter_config.json') return adapterConfigFaults(bytes, base)
  const of = <T extends { readonly file: ModelFile }>(tensors: readonly T[]) =>
    tensors.filter(({ file }) => file === name)
  return onnxFaults(bytes, { inputs: of(inputs), outputs: of(outputs) })
}
