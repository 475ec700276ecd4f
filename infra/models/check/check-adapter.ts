/** Checks of a LoRA adapter as `peft` writes it: its weights in safetensors, and its options. */

/** Inferred: a header has some hundred bytes a tensor. */
const MAX_HEADER_BYTES = 16 * 1024 * 1024
const DTYPE_BYTES: Readonly<Record<string, number>> = { F64: 8, F32: 4, F16: 2, BF16: 2, F8_E4M3: 1, F8_E5M2: 1 }
const MAX_NAMED = 8

/**
 * What is wrong with a safetensors file: its header, or tensors that do not fill the file exactly, one after the other
 * (https://github.com/huggingface/safetensors, "Format").
 */
export function safetensorsFaults(bytes: Uint8Array): string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const size = bytes.byteLength < 8 ? -1n : view.getBigUint64(0, true)
  if (size < 2n || size > BigInt(Math.min(MAX_HEADER_BYTES, bytes.byteLength - 8))) {
    return [`expected a safetensors file, found one of ${bytes.byteLength} bytes whose header would have ${size}`]
  }
  const header = objectIn(bytes.subarray(8, 8 + Number(size)))
  if (header === undefined) return ['expected a safetensors file, found a header that is no JSON object']
  const { __metadata__: _, ...tensors } = header
  const ranges: [number, number, string][] = []
  const faults: string[] = []
  for (const [name, described] of Object.entries(tensors)) {
    const range = rangeOf(described)
    if (typeof range === 'string') faults.push(`tensor ${name}: ${range}`)
    else ranges.push([...range, name])
    if (!/\.lora_(?:A|B|embedding_A|embedding_B|magnitude_vector)(?:\.|$)/.test(name)) {
      faults.push(`tensor ${name}: expected weights of LoRA alone (lora_A, lora_B)`)
    }
  }
  if (ranges.length === 0 && faults.length === 0) faults.push('expected some tensors, found none')
  ranges.sort(([one], [other]) => one - other)
  let at = 0
  for (const [from, to, name] of ranges) {
    if (from !== at) faults.push(`tensor ${name}: expected its data at ${at}, found it at ${from}`)
    at = to
  }
  const data = bytes.byteLength - 8 - Number(size)
  if (at !== data && faults.length === 0) faults.push(`expected ${at} bytes of data, found ${data}`)
  return faults.slice(0, MAX_NAMED)
}

function rangeOf(described: unknown): [number, number] | string {
  const { dtype, shape, data_offsets } = (described ?? {}) as Readonly<Record<string, unknown>>
  const width = DTYPE_BYTES[String(dtype)]
  if (width === undefined) return `expected a type among ${Object.keys(DTYPE_BYTES).join(', ')}, found ${String(dtype)}`
  if (!isSizes(shape) || !isSizes(data_offsets) || data_offsets.length !== 2) return 'expected shape and data_offsets'
  const [from = 0, to = 0] = data_offsets
  const bytes = shape.reduce((product, size) => product * size, width)
  return to - from === bytes ? [from, to] : `expected ${bytes} bytes for its shape, found ${to - from}`
}

const isSizes = (value: unknown): value is readonly number[] =>
  Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0)

const isText = (value: unknown) => typeof value === 'string' && value.length <= 1_024
const isNumber = (value: unknown) => typeof value === 'number' && Number.isFinite(value)
const isFlag = (value: unknown) => typeof value === 'boolean'
const isNames = (value: unknown) => isText(value) || (Array.isArray(value) && value.every(isText))
const isNumbers = (value: unknown) => isObject(value) && Object.values(value).every(isNumber)

/** The options that an adapter may have, and what they may be. */
const OPTIONS: Readonly<Record<string, (value: unknown) => boolean>> = {
  peft_type: (value) => value === 'LORA',
  task_type: isText,
  r: isNumber,
  lora_alpha: isNumber,
  lora_dropout: isNumber,
  target_modules: isNames,
  exclude_modules: isNames,
  layers_to_transform: (value) => isNumber(value) || (Array.isArray(value) && value.every(isNumber)),
  layers_pattern: isNames,
  rank_pattern: isNumbers,
  alpha_pattern: isNumbers,
  bias: (value) => value === 'none',
  fan_in_fan_out: isFlag,
  inference_mode: isFlag,
  init_lora_weights: isFlag,
  use_rslora: isFlag,
  use_dora: isFlag,
  base_model_name_or_path: isText,
  peft_version: isText,
}

/**
 * What is wrong with `adapter_config.json`. Options outside of the list must say nothing: `peft` writes new ones, empty,
 * with each release.
 *
 * @param base what the manifest says that the adapter is applied to
 */
export function adapterConfigFaults(bytes: Uint8Array, base: string | null): string[] {
  const config = bytes.byteLength > MAX_HEADER_BYTES ? undefined : objectIn(bytes)
  if (config === undefined) return ['expected a JSON object']
  const faults: string[] = []
  for (const [name, value] of Object.entries(config)) {
    if (saysNothing(value)) continue
    const fits = Object.hasOwn(OPTIONS, name) ? OPTIONS[name] : undefined
    if (fits === undefined) faults.push(`${name}: expected none, or an empty one; found ${excerpt(value)}`)
    else if (!fits(value)) faults.push(`${name}: found ${excerpt(value)}, which no LoRA adapter here may have`)
  }
  if (config.peft_type !== 'LORA') faults.push('peft_type: expected LORA')
  if (!isNumber(config.r) || Number(config.r) < 1) faults.push('r: expected the rank of the adapter')
  const named = config.base_model_name_or_path
  if (typeof named === 'string' && named !== '' && named !== base) {
    faults.push(
      `base_model_name_or_path: expected ${JSON.stringify(base)}, as the manifest has it, found ${excerpt(named)}`,
    )
  }
  return faults.slice(0, MAX_NAMED)
}

const saysNothing = (value: unknown) =>
  value === null || value === false || (Array.isArray(value) && value.length === 0) || isEmptyObject(value)

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isEmptyObject = (value: unknown) => isObject(value) && Object.keys(value).length === 0

const excerpt = (value: unknown) => JSON.stringify(value)?.slice(0, 80)

function objectIn(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}
