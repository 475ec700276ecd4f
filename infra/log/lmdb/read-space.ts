import type { Database } from 'lmdb'
import { lmdb } from './lmdb-js.ts'

/**
 * Memory for the chunks that one read copies out of the map. Chunks share blocks, because one allocation per chunk
 * costs more than the copy, and the records of one read are mostly released together. The first block has room for one
 * chunk only; a second chunk means a backlog, so later blocks are larger.
 *
 * lmdb-js copies a value into a buffer that it reuses, so that the value has to be copied a second time. That buffer
 * can be set: here it is set to the chunk's final place, which avoids the second copy.
 */
export class ReadSpace {
  #block = EMPTY
  #at = 0
  #next_bytes = FIRST_BYTES

  /** @returns the value, in memory that is not reused; undefined if there is no value */
  read(table: Database<Buffer, Buffer>, key: Buffer): Buffer | undefined {
    if (this.#block.byteLength - this.#at < FIRST_BYTES) {
      this.#block = Buffer.allocUnsafeSlow(this.#next_bytes)
      this.#at = 0
      this.#next_bytes = BLOCK_BYTES
    }
    const room = this.#block.subarray(this.#at)
    const found = readInto(room, table, key)
    if (found === undefined) return undefined
    // A single record larger than the usual chunk: it did not fit, so nothing was copied.
    if (found.length > room.byteLength) return table.getBinary(key)
    this.#at += found.length
    return room.subarray(0, found.length)
  }
}

/** @returns a buffer of the value's length; the bytes are in `room` if that is long enough */
function readInto(room: Buffer, table: Database<Buffer, Buffer>, key: Buffer): Buffer | undefined {
  let found: SharedBuffer | undefined
  addon.setGlobalBuffer(room)
  try {
    found = table.getBinaryFast(key)
  } finally {
    // If the value did not fit into the buffer, lmdb-js has allocated a larger one: keep that.
    if (found?.isGlobal) shared = found
    addon.setGlobalBuffer(shared)
  }
  return found
}

type SharedBuffer = Buffer & { readonly isGlobal?: boolean }

const addon = (lmdb as unknown as { readonly nativeAddon: Addon }).nativeAddon

interface Addon {
  readonly globalBuffer: SharedBuffer
  setGlobalBuffer(buffer: Buffer): void
}

let shared = addon.globalBuffer

const EMPTY = Buffer.alloc(0)
/** Room for any chunk of more than one record. */
const FIRST_BYTES = 32 * 1024
/** Three chunks; malloc maps blocks of 128 KiB and more again each time, which costs more than it saves. */
const BLOCK_BYTES = 3 * FIRST_BYTES
