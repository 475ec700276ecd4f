import { promisify } from 'node:util'
import { gunzipSync, gzip, gzipSync, zstdCompress, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { lz4Compress, lz4Decompress } from './lz4.ts'
import { snappyDecompress } from './snappy.ts'

/** What this driver writes; it reads snappy too. */
export const COMPRESSIONS = ['zstd', 'lz4', 'gzip', 'none'] as const
export type Compression = (typeof COMPRESSIONS)[number]

/** The numbers of the record batch's attributes. */
const NUMBERS: Readonly<Record<Compression, number>> = { none: 0, gzip: 1, lz4: 3, zstd: 4 }
export const CODEC_MASK = 7

const inThreadGzip = promisify(gzip)
const inThreadZstd = promisify(zstdCompress)

/** From here on it is worth a way to another thread and back, which costs as much as compressing some 10 KiB. */
const LARGE_BYTES = 64 * 1024

/** Where it takes long, beside the event loop. `records` must not change meanwhile. */
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
      return { codec, bytes: lz4Compress(records) }
    case 'zstd':
      return { codec, bytes: large ? await inThreadZstd(records) : zstdCompressSync(records) }
  }
}

/** @throws Error when the bytes are damaged, or of a codec that is not known. */
export function decompress(codec: number, bytes: Buffer): Buffer {
  switch (codec) {
    case 0:
      return bytes
    case 1:
      return gunzipSync(bytes)
    case 2:
      return snappyDecompress(bytes)
    case 3:
      return lz4Decompress(bytes)
    case 4:
      return zstdDecompressSync(bytes)
    default:
      throw new Error(`expected compression none, gzip, snappy, lz4 or zstd, found codec ${codec}`)
  }
}
