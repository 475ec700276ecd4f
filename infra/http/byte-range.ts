/** The first and the last byte that a `Range` header asks for. */
export interface AskedRange {
  readonly from: number
  readonly to: number
}

/**
 * RFC 9110 §14: one range of `size` bytes. A header that is not one is ignored, as the RFC allows.
 *
 * @returns undefined for everything; `beyond` when no such byte is there
 */
export function rangeOf(header: string | undefined, size: number): AskedRange | 'beyond' | undefined {
  const [, first, last] = /^bytes=(\d*)-(\d*)$/.exec(header ?? '') ?? []
  if (first === undefined || last === undefined || (first === '' && last === '')) return undefined
  const from = first === '' ? Math.max(0, size - Number(last)) : Number(first)
  const to = first === '' || last === '' ? size - 1 : Math.min(Number(last), size - 1)
  if (first !== '' && last !== '' && Number(last) < from) return undefined
  return from >= size ? 'beyond' : { from, to }
}
