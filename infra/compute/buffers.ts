/** Every typed array and bare buffer in a plain value, as views. */
function* viewsIn(value: unknown): Generator<Pick<ArrayBufferView, 'buffer' | 'byteLength'>> {
  if (ArrayBuffer.isView(value)) yield value
  else if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) yield new Uint8Array(value)
  else if (typeof value === 'object' && value !== null) for (const inner of Object.values(value)) yield* viewsIn(inner)
}

/** About how much memory a plain value takes, bytes; texts and small values count little, each buffer once. */
export function sizeOfValue(value: unknown): number {
  let bytes = 1_024
  for (const buffer of new Set(Array.from(viewsIn(value), ({ buffer }) => buffer))) bytes += buffer.byteLength
  return bytes
}

/**
 * The buffers of a result that can be transferred: those that one array fills. A part of a larger buffer is copied, as
 * the rest may belong to another value.
 */
export function transferable(value: unknown): ArrayBuffer[] {
  const whole = new Set<ArrayBuffer>()
  for (const { buffer, byteLength } of viewsIn(value)) {
    if (buffer instanceof ArrayBuffer && byteLength === buffer.byteLength) whole.add(buffer)
  }
  return [...whole]
}
