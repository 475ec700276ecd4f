import { join, resolve } from 'node:path'
import type { BlobStore, Blobs } from '../infra/blobs/blobs.ts'
import { cachedBlobs } from '../infra/blobs/cached.ts'
import { directoryBlobs } from '../infra/blobs/directory.ts'
import { DiskCache } from '../infra/blobs/disk-cache.ts'
import { httpBlobs } from '../infra/blobs/http.ts'
import { s3Blobs } from '../infra/blobs/s3.ts'
import { S3PlaceError, s3Place } from '../infra/blobs/s3-options.ts'
import { type ServedBlobs, servedDirectory, servedStore } from '../infra/blobs/served.ts'
import { UsageError } from './usage-error.ts'

/** The environment variable that holds the token of `blobs serve`. */
export const BLOBS_TOKEN = 'PLUMBLINE_BLOBS_TOKEN'

export interface BlobsPlace {
  readonly data: string
  /** URL of a blob server or address of a bucket; the data folder's own blobs when left out. */
  readonly blobs?: string | true
}

/** The folder of a data folder's blobs, and the file that records that blobs were put into it. */
export function blobFolder(data: string): { readonly root: string; readonly made: string } {
  return { root: join(resolve(data), 'blobs'), made: join(resolve(data), '.blobs-made') }
}

export function folderBlobs(data: string): Blobs {
  const { root, made } = blobFolder(data)
  return directoryBlobs(root, { made })
}

/** The blobs of a data folder, or those of a remote store, with a cache in the data folder. */
export function blobsOf({ data, blobs: address }: BlobsPlace): Blobs {
  const own = folderBlobs(data)
  if (address === undefined) return own
  const there = storeAt(address)
  const cache = new DiskCache(join(resolve(data), 'blob-cache'), cacheBytes())
  return cachedBlobs({ there, cache, own })
}

/** The same blobs for a server, by their SHA-256 alone; of a remote store, without the cache. */
export function servedBlobsOf({ data, blobs: address }: BlobsPlace): ServedBlobs {
  if (address !== undefined) return servedStore(storeAt(address))
  const { root, made } = blobFolder(data)
  return servedDirectory(root, made)
}

/** @throws UsageError when the address names no store, or a setting that the store needs is missing */
function storeAt(address: string | true): BlobStore {
  if (address !== true && address.startsWith('s3://')) return bucketAt(address)
  if (address === true || !/^https?:\/\//.test(address) || !URL.canParse(address)) {
    throw new UsageError(
      `--blobs${address === true ? '' : ` ${address}`}: expected the URL of a blob server, or s3://BUCKET/PREFIX`,
      'e.g. --blobs http://10.0.0.5:8790',
    )
  }
  const token = process.env[BLOBS_TOKEN]
  if (!token) {
    throw new UsageError(
      `--blobs ${address}: ${BLOBS_TOKEN} is not set`,
      'set it to the token that `blobs serve` printed',
    )
  }
  return httpBlobs({ url: address, token })
}

function bucketAt(address: string): BlobStore {
  try {
    return s3Blobs(s3Place(address, process.env))
  } catch (error) {
    if (error instanceof S3PlaceError) throw new UsageError(`--blobs ${error.message}`, error.remedy)
    throw error
  }
}

/** The environment variable that limits the cache of a remote store, in GiB. */
const CACHE_GIB = 'PLUMBLINE_BLOB_CACHE_GIB'

/** Inferred: some hours of pictures and long columns. */
const DEFAULT_CACHE_GIB = 10

function cacheBytes(): number {
  const text = process.env[CACHE_GIB] || String(DEFAULT_CACHE_GIB)
  const gib = Number(text)
  if (!(gib > 0)) throw new UsageError(`${CACHE_GIB} ${text}: expected a number of GiB above 0`, `e.g. ${CACHE_GIB}=50`)
  return gib * 2 ** 30
}
