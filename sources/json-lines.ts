import { FileError, openPlainFile, utf8Text, withoutBom } from './plain-file.ts'
import { repeatedKey } from './repeated-key.ts'

/** One non-blank line of a JSON Lines file. */
export interface JsonLine {
  /** From 1; blank lines are counted. */
  readonly number: number
  /** Offset of the line's first byte, and of the byte after its line feed. */
  readonly start: number
  readonly end: number
  /** Without the line feed and a byte order mark. */
  readonly bytes: Buffer
}

const CHUNK_BYTES = 2 ** 20

/** Inferred: a completion of a million tokens with log-probabilities takes half of this. */
const MAX_LINE_BYTES = 64 * 2 ** 20

const LINE_FEED = 10

/**
 * The lines of a file, read on demand: only one line is in memory.
 *
 * @param from where to begin: the byte offset of a line, and that line's number; `to`: the byte offset at which to end
 * @param onBytes is called with every byte read, in order
 * @throws FileError when a line is longer than 64 MiB
 */
export async function* linesOf(
  file: string,
  { from = { byte: 0, line: 1 }, to = Number.POSITIVE_INFINITY, onBytes = (_bytes: Buffer): void => {} } = {},
): AsyncGenerator<JsonLine> {
  const handle = await openPlainFile(file)
  try {
    let { byte: at, line: number } = from
    /** The parts read so far of the line that begins at `start`. */
    let parts: Buffer[] = []
    let start = at
    const refuseLong = (bytes: number): void => {
      if (bytes <= MAX_LINE_BYTES) return
      throw new FileError(
        `${file}:${number}: expected a line of at most ${MAX_LINE_BYTES / 2 ** 20} MiB, got a longer one`,
        'is it a file of JSON lines, one object to a line?',
      )
    }
    const lineOf = (end: number): JsonLine => {
      refuseLong(end - start)
      const whole = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)
      const line = { number, start, end, bytes: start === 0 ? withoutBom(whole) : whole }
      parts = []
      start = end
      number++
      return line
    }
    for (;;) {
      const wanted = Math.min(CHUNK_BYTES, to - at)
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(wanted), 0, wanted, at)
      if (bytesRead === 0) break
      const chunk = buffer.subarray(0, bytesRead)
      onBytes(chunk)
      let begin = 0
      for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, begin)) {
        parts.push(chunk.subarray(begin, end))
        begin = end + 1
        const line = lineOf(at + begin)
        if (!isBlank(line.bytes)) yield line
      }
      if (begin < chunk.length) parts.push(chunk.subarray(begin))
      at += bytesRead
      refuseLong(at - start)
    }
    if (parts.length > 0) {
      const line = lineOf(at)
      if (!isBlank(line.bytes)) yield line
    }
  } finally {
    await handle.close()
  }
}

function isBlank(bytes: Buffer): boolean {
  // By index: a Buffer's iterator is twenty times slower.
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]
    if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0d) return false
  }
  return true
}

const REMEDY = 'one JSON object to a line, in UTF-8'

/**
 * The object of a line.
 *
 * @throws FileError naming file, line and (if not UTF-8) column: not UTF-8, not JSON, not an object, or a repeated key,
 * of which JSON.parse would silently keep the last one
 */
export function objectIn(file: string, { number, bytes }: JsonLine): Record<string, unknown> {
  const where = `${file}:${number}`
  const text = utf8Text(bytes, where)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    const { message } = error as Error
    throw new FileError(`${where}: expected a JSON object, got ${excerpt(text)} (${message})`, REMEDY)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FileError(`${where}: expected a JSON object, got ${excerpt(text)}`, REMEDY)
  }
  const repeated = repeatedKey(text)
  if (repeated !== undefined) {
    throw new FileError(`${where}: expected each key once, got ${JSON.stringify(repeated)} twice`, REMEDY)
  }
  return value as Record<string, unknown>
}

const excerpt = (text: string) => text.trim().slice(0, 60)
