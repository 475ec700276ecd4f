const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN = 0x7b
const CLOSE = 0x7d
const COLON = 0x3a

/**
 * The first key that is repeated within an object, at any depth; undefined when there is none. `JSON.parse` silently
 * keeps the last value.
 *
 * @param json a text that JSON.parse accepts
 */
export function repeatedKey(json: string): string | undefined {
  const objects: Set<string>[] = []
  /** Bounds of the last string, which is a key if a colon follows. */
  let start = 0
  let end = 0
  for (let at = 0; at < json.length; at++) {
    switch (json.charCodeAt(at)) {
      case QUOTE:
        start = at
        end = endOfText(json, at)
        at = end - 1
        break
      case OPEN:
        objects.push(new Set())
        break
      case CLOSE:
        objects.pop()
        break
      case COLON: {
        const raw = json.slice(start + 1, end - 1)
        const key = raw.includes('\\') ? (JSON.parse(json.slice(start, end)) as string) : raw
        const keys = objects.at(-1)
        if (keys?.has(key)) return key
        keys?.add(key)
        break
      }
    }
  }
  return undefined
}

/** @returns the index after the closing quote */
function endOfText(json: string, from: number): number {
  let at = from
  for (;;) {
    at = json.indexOf('"', at + 1)
    let slashes = 0
    while (json.charCodeAt(at - 1 - slashes) === BACKSLASH) slashes++
    if (slashes % 2 === 0) return at + 1
  }
}
