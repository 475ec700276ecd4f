/** Up to this many characters, a loop is faster than a call into the runtime. */
export const SHORT = 64

/**
 * Writes a short ASCII text, one byte per character.
 *
 * @param into with room for `text.length` bytes from `at` on
 * @returns false if the text is longer or not ASCII; ignore any bytes written
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
