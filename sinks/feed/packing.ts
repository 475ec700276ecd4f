import { promisify } from 'node:util'
import { gunzip, gzip } from 'node:zlib'

/** Makes the bytes of a snapshot smaller, and undoes it. */
export interface Packing {
  pack(bytes: Uint8Array): Promise<Uint8Array>
  /** @throws Error when the bytes are not packed, or are more than `most` without packing */
  unpack(bytes: Uint8Array, most: number): Promise<Uint8Array>
}

const zip = promisify(gzip)
const unzip = promisify(gunzip)

/** In threads of the host, so that a large state holds no call up. */
export const packedInThreads: Packing = {
  pack: (bytes) => zip(bytes, { level: 1 }),
  unpack: (bytes, most) => unzip(bytes, { maxOutputLength: most }),
}
