import { BlobMissingError, type Blobs } from '../../infra/blobs/blobs.ts'

/** The bug that the tests must catch: any error of the blob store is treated as a fault of the record. */
export function withLostBlobs(blobs: Blobs): Blobs {
  return {
    ...blobs,
    get: (ref) =>
      blobs.get(ref).catch((error: unknown) => {
        throw new BlobMissingError(String(error))
      }),
  }
}
