import type { Blobs } from '../../infra/blobs/blobs.ts'
import { type FoundBlob, oldBlobs } from '../../infra/blobs/old-blobs.ts'
import type { Log, LogRecord } from '../../infra/log/port/log.ts'
import { isCompacted } from '../../infra/runtime/internal/internal-topics.ts'
import { readRange } from '../../infra/runtime/internal/json-records.ts'
import { blobsNamedBy } from '../../infra/runtime/rebuild/blobs-named-by.ts'
import type { Catalogue } from '../../schemas/declare/registry.ts'

export interface BlobsToKeep {
  readonly log: Log
  readonly blobs: Blobs
  readonly vocabulary: Catalogue
  /** Where the records of a partition begin that stay. */
  readonly stay: (topic: string, partition: number) => bigint
}

/**
 * The blobs of a folder that were neither put nor asked for since a time, and that no record of the log names. Anything
 * in a record that looks like the name of a blob counts, also in one that cannot be read.
 */
export async function unnamedBlobs(
  root: string,
  before_ms: number,
  { log, blobs, vocabulary, stay }: BlobsToKeep,
): Promise<FoundBlob[]> {
  const candidates = new Map<string, FoundBlob>()
  for await (const found of oldBlobs(root, before_ms)) candidates.set(found.sha256, found)
  if (candidates.size === 0) return []
  for (const { name, partitions } of await log.topics()) {
    // Of a key, a changelog counts by its last record alone: the states before it are of no use.
    const last = isCompacted(name) ? new Map<string | null, readonly string[]>() : undefined
    for (let partition = 0; partition < partitions; partition++) {
      for await (const record of readRange(log, name, partition, stay(name, partition))) {
        const named = [...namesIn(record)].filter((sha256) => candidates.has(sha256))
        if (last !== undefined) {
          if (named.length > 0) last.set(record.key, named)
          else last.delete(record.key)
          continue
        }
        for (const sha256 of named) candidates.delete(sha256)
        for (const { sha256 } of await blobsNamedBy(record, vocabulary, blobs)) candidates.delete(sha256)
      }
      for (const named of last?.values() ?? []) for (const sha256 of named) candidates.delete(sha256)
      last?.clear()
    }
  }
  return [...candidates.values()]
}

const SHA256_LETTERS = 64
const LIKE_NAMES = /[0-9a-f]{64,}/g

/** Every 64 letters in a row that a name may have: texts of a column lie next to each other. */
function* namesIn({ value, headers }: LogRecord): Generator<string> {
  const texts = headers.map((header) => header.value)
  if (value !== null) texts.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('latin1'))
  for (const text of texts) {
    for (const [letters] of text.matchAll(LIKE_NAMES)) {
      for (let at = 0; at + SHA256_LETTERS <= letters.length; at++) yield letters.slice(at, at + SHA256_LETTERS)
    }
  }
}
