/** Characters up to which a loop is faster than a call into the runtime. */
export const SHORT = 64

/**
 * Writes a short text of ASCII alone, whose bytes are as many as its characters.
 *
 * @param into with room for `text.length` bytes from `at` on
 * @returns false where it is another text; what was written then counts for nothing
 */
export function writeShortAscii(into: Uint8Array, at: number, text: string): boolean {
  const { length } = text
  if (length > SHORT) return false
  for (let index = 0; index < length; index++) {
    const code = text.charCodeAt(index)
    if (code > 0x7f) return false
    into[at + index] = code
  }
  return true
}
