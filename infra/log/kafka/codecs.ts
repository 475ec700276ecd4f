import { promisify } from 'node:util'
import { gunzipSync, gzip, gzipSync, zstdCompress, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { inThreadLz4, lz4Compress, lz4Decompress } from './lz4.ts'
import { snappyDecompress } from './snappy.ts'

/** The codecs that this driver writes; it reads snappy too. */
export const COMPRESSIONS = ['zstd', 'lz4', 'gzip', 'none'] as const
export type Compression = (typeof COMPRESSIONS)[number]

/** The numbers of the record batch's attributes. */
const NUMBERS: Readonly<Record<Compression, number>> = { none: 0, gzip: 1, lz4: 3, zstd: 4 }
export const CODEC_MASK = 7

const inThreadGzip = promisify(gzip)
const inThreadZstd = promisify(zstdCompress)

/** From this size on, compress in another thread: the round trip costs as much as compressing about 10 KiB. */
const LARGE_BYTES = 64 * 1024

/** Large records are compressed off the event loop. `records` must not change meanwhile. */
export async function compress(
  compression: Compression,
  records: Buffer,
): Promise<{ readonly codec: number; readonly bytes: Buffer }> {
  const codec = NUMBERS[compression]
  const large = records.length >= LARGE_BYTES
  switch (compression) {
    case 'none':
      return { codec, bytes: records }
    case 'gzip':
      return { codec, bytes: large ? await inThreadGzip(records) : gzipSync(records) }
    case 'lz4':
      return { codec, bytes: large ? await inThreadLz4(records) : lz4Compress(records) }
    case 'zstd':
      return { codec, bytes: large ? await inThreadZstd(records) : zstdCompressSync(records) }
  }
}

/** Limit of one decompressed batch. Brokers limit only the compressed size, to 1 MiB by default. */
const MAX_BATCH_BYTES = 256 * 2 ** 20

/** A batch that would decompress to more than its limit (`MAX_BATCH_BYTES`). Such a batch is hardly an accident. */
export class BatchTooLargeError extends Error {
  override readonly name = 'BatchTooLargeError'
  readonly retry = 'never'
}

/**
 * @throws BatchTooLargeError when the result is larger than `max_bytes`
 * @throws Error when the bytes are damaged or the codec is not supported.
 */
export function decompress(codec: number, bytes: Buffer, max_bytes = MAX_BATCH_BYTES): Buffer {
  try {
    return decompressed(codec, bytes, max_bytes)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_BUFFER_TOO_LARGE') throw error
    throw new BatchTooLargeError(`${bytes.length} compressed bytes hold more than ${max_bytes}`, { cause: error })
  }
}

function decompressed(codec: number, bytes: Buffer, max_bytes: number): Buffer {
  const limit = { maxOutputLength: max_bytes }
  switch (codec) {
    case 0:
      return bytes
    case 1:
      return gunzipSync(bytes, limit)
    case 2:
      return snappyDecompress(bytes, max_bytes)
    case 3:
      return lz4Decompress(bytes, max_bytes)
    case 4:
      return zstdDecompressSync(bytes, limit)
    default:
      throw new Error(`expected compression none, gzip, snappy, lz4 or zstd, found codec ${codec}`)
  }
}
