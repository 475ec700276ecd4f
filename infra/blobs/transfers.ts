import type { BlobRef } from '../../schemas/declare/logical-types.ts'
import type { BlobCall, BlobStore } from './blobs.ts'
import { download, downloadStream, type Remote } from './download.ts'
import { refOf } from './hashing.ts'
import { type Body, bodyOf } from './request.ts'

/**
 * Puts and gets of a store over a network, whole and as streams.
 *
 * @param store sends a blob; it may ask for the body again, to retry
 */
export function transfersOf(
  remote: Remote,
  store: (ref: BlobRef, body: () => Body, call: BlobCall) => Promise<void>,
): Pick<BlobStore, 'put' | 'putStream' | 'get' | 'getStream'> {
  return {
    async put(bytes, media_type, call = {}) {
      const ref = refOf(bytes, media_type, call.sha256)
      await store(ref, () => Buffer.from(bytes), call)
      return ref
    },

    async putStream(ref, open, call = {}) {
      const source = bodyOf(ref, open)
      await store(ref, source.body, call).catch((error: unknown) => {
        throw source.failure() ?? error
      })
    },

    get: (ref, call) => download(remote, ref, call),
    getStream: (ref, call) => downloadStream(remote, ref, call),
  }
}
