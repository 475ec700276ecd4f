/** The buffers of all typed arrays in a plain value, each once. */
export function buffersIn(value: unknown, found: Set<ArrayBufferLike> = new Set()): Set<ArrayBufferLike> {
  if (ArrayBuffer.isView(value)) found.add(value.buffer)
  else if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) found.add(value)
  else if (typeof value === 'object' && value !== null)
    for (const inner of Object.values(value)) buffersIn(inner, found)
  return found
}

/** About how much memory a plain value takes, bytes; texts and small values count little. */
export function sizeOfValue(value: unknown): number {
  let bytes = 1_024
  for (const buffer of buffersIn(value)) bytes += buffer.byteLength
  return bytes
}

/**
 * The buffers of a result that can be transferred: those that one array fills. A part of a larger buffer is copied, as
 * the rest may belong to another value.
 */
export function transferable(value: unknown): ArrayBuffer[] {
  const whole = new Set<ArrayBuffer>()
  const visit = (inner: unknown): void => {
    if (ArrayBuffer.isView(inner)) {
      if (inner.buffer instanceof ArrayBuffer && inner.byteLength === inner.buffer.byteLength) whole.add(inner.buffer)
    } else if (inner instanceof ArrayBuffer) whole.add(inner)
    else if (typeof inner === 'object' && inner !== null) for (const next of Object.values(inner)) visit(next)
  }
  visit(value)
  return [...whole]
}
