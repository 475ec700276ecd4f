import { closeSync, fstatSync, openSync, readSync } from 'node:fs'

/**
 * LMDB's data file, read page by page without LMDB. LMDB maps the file and follows its pointers unchecked, so a damaged
 * file can kill the process. Layouts are those of lmdb-js 3.5 on a 64-bit little-endian machine (mdb.c:
 * MDB_page_header, MDB_meta, MDB_db, MDB_node). Used only for checks and repair.
 */
export class PageFile {
  readonly bytes: number
  readonly page_bytes: number
  readonly #file: number
  readonly #word = Buffer.alloc(8)

  constructor(path: string) {
    this.#file = openSync(path, 'r')
    this.bytes = fstatSync(this.#file).size
    this.page_bytes = this.#pageBytes()
  }

  /** Number of whole pages in the file; a truncated last page does not count. */
  get pages(): number {
    return Math.floor(this.bytes / this.page_bytes)
  }

  /** Undefined beyond the end of the file. */
  page(at: number, count = 1): Buffer | undefined {
    if (!Number.isSafeInteger(at) || at < 0 || count < 1 || at + count > this.pages) return undefined
    return this.#read(at * this.page_bytes, count * this.page_bytes)
  }

  /** Both meta pages: LMDB writes them in turn, and the one with the greater transaction number is current. */
  metas(): readonly [Meta, Meta] {
    return [this.#meta(0), this.#meta(1)]
  }

  /** The greater number of both meta pages, which are not checked: a look that is cheap enough for every commit. */
  newestTransaction(): number {
    const [first, second] = [PAGE_HEAD_BYTES + TRANSACTION_AT, this.page_bytes + PAGE_HEAD_BYTES + TRANSACTION_AT]
    return Math.max(this.#number(first), this.#number(second))
  }

  close(): void {
    closeSync(this.#file)
  }

  #meta(index: 0 | 1): Meta {
    const page = this.page(index)
    if (page === undefined) return { problem: `the file ends before page ${index}` }
    const problem = metaProblem(page, index, this.page_bytes)
    if (problem !== undefined) return { problem: `meta page ${index} ${problem}` }
    const db = PAGE_HEAD_BYTES + 24
    return {
      transaction: Number(page.readBigUInt64LE(PAGE_HEAD_BYTES + TRANSACTION_AT)),
      last_page: Number(page.readBigUInt64LE(PAGE_HEAD_BYTES + 120)),
      free: treeIn(page.subarray(db)),
      main: treeIn(page.subarray(db + TREE_BYTES)),
    }
  }

  /** From the first meta page; else from the second, tried at each possible page size; else the usual 4096. */
  #pageBytes(): number {
    for (const at of [0, ...PAGE_SIZES]) {
      const head = this.#read(at, PAGE_HEAD_BYTES + 56)
      if (head === undefined || head.readUInt32LE(PAGE_HEAD_BYTES) !== MAGIC) continue
      const bytes = head.readUInt32LE(PAGE_HEAD_BYTES + 24)
      if (PAGE_SIZES.includes(bytes) && (at === 0 || at === bytes)) return bytes
    }
    return 4096
  }

  #number(at: number): number {
    readSync(this.#file, this.#word, 0, 8, at)
    return Number(this.#word.readBigUInt64LE())
  }

  #read(from: number, length: number): Buffer | undefined {
    const into = Buffer.alloc(length)
    return readSync(this.#file, into, 0, length, from) === length ? into : undefined
  }
}

export type Meta = SoundMeta | { readonly problem: string }

export interface SoundMeta {
  readonly transaction: number
  readonly last_page: number
  readonly free: Tree
  /** Its entries are the named tables. */
  readonly main: Tree
}

/** One B-tree, by its root page; `undefined` for an empty one. */
export interface Tree {
  readonly root: number | undefined
  readonly depth: number
  readonly entries: number
}

export const PAGE_HEAD_BYTES = 24
export const TREE_BYTES = 48
const MAGIC = 0xbeefc0de
const VERSION = 2
const PAGE_SIZES: readonly number[] = [4096, 8192, 16_384, 32_768, 65_536]
const META_PAGE = 0x08
/** Place of the transaction's number in `MDB_meta`, bytes. */
const TRANSACTION_AT = 128
const NO_PAGE = 0xffff_ffff_ffff_ffffn

/** @param bytes an MDB_db */
export function treeIn(bytes: Buffer): Tree {
  const root = bytes.readBigUInt64LE(40)
  return {
    root: root === NO_PAGE ? undefined : Number(root),
    depth: bytes.readUInt16LE(6),
    entries: Number(bytes.readBigUInt64LE(32)),
  }
}

function metaProblem(page: Buffer, index: number, page_bytes: number): string | undefined {
  const at = PAGE_HEAD_BYTES
  if (page.readUInt32LE(at) !== MAGIC) return 'does not begin as LMDB’s do'
  if (page.readUInt16LE(18) !== META_PAGE || page.readBigUInt64LE(0) !== BigInt(index)) return 'is not marked as one'
  if ((page.readUInt32LE(at + 4) & 0xffff) !== VERSION)
    return `has version ${page.readUInt32LE(at + 4)}, expected ${VERSION}`
  if (page.readUInt32LE(at + 24) !== page_bytes)
    return `tells pages of ${page.readUInt32LE(at + 24)} bytes, expected ${page_bytes}`
  const transaction = page.readBigUInt64LE(at + TRANSACTION_AT)
  if (transaction !== 0n && Number(transaction & 1n) !== index)
    return `holds transaction ${transaction}, which belongs on the other`
  if (page.readBigUInt64LE(at + 120) >= 2n ** 48n) return `tells a last page of ${page.readBigUInt64LE(at + 120)}`
  return undefined
}
