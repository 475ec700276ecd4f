import { isUtf8 } from 'node:buffer'
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'

/** A file that the user named cannot be read, or has invalid contents. The message names file and line. */
export class FileError extends Error {
  override readonly name = 'FileError'
  readonly retry = 'never'
  readonly remedy: string

  constructor(message: string, remedy: string, options?: ErrorOptions) {
    super(message, options)
    this.remedy = remedy
  }
}

/**
 * Opens a file for reading. Rejects a pipe or a device, without blocking: it cannot be read twice, and may never end.
 *
 * @throws FileError
 */
export async function openPlainFile(file: string): Promise<FileHandle> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: NodeJS.ErrnoException) => {
    const why = error.code === 'ENOENT' ? 'there is no such file' : error.message
    throw new FileError(`cannot read ${file}: ${why}`, 'look at the path', { cause: error })
  })
  const stats = await handle.stat()
  if (stats.isFile()) return handle
  await handle.close()
  const what = stats.isDirectory() ? 'a folder' : stats.isFIFO() ? 'a pipe' : 'a device'
  throw new FileError(`cannot read ${file}: expected a file, got ${what}`, 'write it to a file first, and name that')
}

const BOM = Buffer.from([0xef, 0xbb, 0xbf])

/** Without the byte order mark that some editors put before UTF-8. */
export function withoutBom(bytes: Buffer): Buffer {
  return bytes.subarray(0, BOM.length).equals(BOM) ? bytes.subarray(BOM.length) : bytes
}

/**
 * Bytes as text.
 *
 * @param where prefix of the message: `FILE:LINE`
 * @throws FileError naming the column (in characters, from 1) of the first byte that is not UTF-8
 */
export function utf8Text(bytes: Buffer, where: string): string {
  if (isUtf8(bytes)) return bytes.toString('utf8')
  const text = bytes.toString('utf8')
  const column = [...text.slice(0, firstReplaced(bytes, text))].length + 1
  const isUtf16 = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)
  throw new FileError(
    `${where}: expected UTF-8, got ${isUtf16 ? 'UTF-16' : `another byte at column ${column}`}`,
    'save the file as UTF-8',
  )
}

/** Index of the first U+FFFD that replaces invalid bytes; a U+FFFD encoded in the file itself is skipped. */
function firstReplaced(bytes: Buffer, text: string): number {
  let byte = 0
  let from = 0
  for (let at = text.indexOf('\ufffd'); at >= 0; at = text.indexOf('\ufffd', at + 1)) {
    byte += Buffer.byteLength(text.slice(from, at))
    if (bytes[byte] !== 0xef || bytes[byte + 1] !== 0xbf || bytes[byte + 2] !== 0xbd) return at
    from = at
  }
  return text.length
}

/** Inferred: the value of an option, typed or generated, is a thousandth of this. */
const MAX_TEXT_BYTES = 16 * 2 ** 20

/**
 * The bytes of a whole small file.
 *
 * @throws FileError when it is not a regular file, or larger than 16 MiB
 */
export async function readSmallFile(file: string): Promise<Buffer> {
  const handle = await openPlainFile(file)
  try {
    const { size } = await handle.stat()
    if (size > MAX_TEXT_BYTES) {
      throw new FileError(`${file}: expected at most ${MAX_TEXT_BYTES} bytes, got ${size}`, 'is it the right file?')
    }
    return await handle.readFile()
  } finally {
    await handle.close()
  }
}

/** The same as text. @throws FileError also when it is not UTF-8 */
export async function readTextFile(file: string): Promise<string> {
  return utf8Text(withoutBom(await readSmallFile(file)), file)
}
