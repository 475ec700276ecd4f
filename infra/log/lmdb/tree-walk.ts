import { PAGE_HEAD_BYTES, type PageFile, type Tree } from './page-file.ts'

/** An entry of a leaf page. */
export interface Leaf {
  readonly at: LeafPlace
  readonly key: Buffer
  /** The value is the description of another tree. */
  readonly is_tree: boolean
  /** Set if the value is stored in the leaf page itself. */
  readonly value?: Buffer
  /** Set if the value is stored on pages of its own. */
  readonly overflow?: { readonly page: number; readonly pages: number; readonly bytes: number }
}

/** Location of an entry: its page, and the byte of the page at which it begins. */
export interface LeafPlace {
  readonly page: number
  readonly node: number
}

/** A bit for each page of a file. */
export class PageSet {
  #bits = new Uint8Array(1024)

  /** @returns whether it was not there before */
  add(page: number): boolean {
    const [at, bit] = [Math.floor(page / 8), 1 << (page % 8)]
    if (at >= this.#bits.length) {
      const larger = new Uint8Array(at * 2)
      larger.set(this.#bits)
      this.#bits = larger
    }
    const before = this.#bits[at] as number
    this.#bits[at] = before | bit
    return (before & bit) === 0
  }
}

export interface WalkOptions {
  /** Called with each inconsistency and its page; the walk then continues with the next page or entry. */
  readonly report: (problem: string) => void
  /** The newest transaction of the file. LMDB would take a page of a later one for its own, not yet written page. */
  readonly transaction: number
  /** Pages in use, including those of trees walked earlier; the walk adds its own. */
  readonly used?: PageSet
  /** How many more pages may be visited; at 0 the walk ends without a report. */
  readonly budget?: { pages: number }
}

/** The leaves of one tree in the order of their keys, every length and page number checked before it is followed. */
export function* walkTree(file: PageFile, tree: Tree, options: WalkOptions): Generator<Leaf> {
  if (tree.root === undefined) return
  const seen = options.used ?? new PageSet()
  const open = [{ page: tree.root, depth: 1 }]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { page: at, depth } = next
    if (options.budget !== undefined && options.budget.pages-- <= 0) return
    if (depth > MOST_DEPTH || (at < file.pages && !seen.add(at))) {
      options.report(`page ${at} is named twice`)
      continue
    }
    const bytes = file.page(at)
    const problem =
      bytes === undefined ? 'lies behind the end of the file' : pageProblem(bytes, at, options.transaction)
    if (bytes === undefined || problem !== undefined) {
      options.report(`page ${at} ${problem}`)
      continue
    }
    const nodes = nodesOf(bytes)
    if (nodes.length < countOf(bytes)) options.report(`page ${at} has entries that do not fit into it`)
    if (bytes.readUInt16LE(18) === BRANCH_PAGE) {
      const children = nodes.map((node) => ({ page: childOf(bytes, node), depth: depth + 1 }))
      open.push(...children.reverse())
      continue
    }
    for (const node of nodes) {
      const leaf = leafAt(bytes, { page: at, node }, options.transaction)
      const problem = leaf === undefined ? 'has an entry that does not fit into it' : overflowProblem(leaf, file, seen)
      if (leaf === undefined || problem !== undefined) options.report(`page ${at} ${problem}`)
      else yield leaf
    }
  }
}

/** The leaves of every page that looks like a leaf page, inside the trees or not; older states are among them. */
export function* everyLeaf(file: PageFile): Generator<{ readonly leaf: Leaf; readonly transaction: number }> {
  for (let at = 0; at < file.pages; at += 1) {
    const bytes = file.page(at)
    if (
      bytes === undefined ||
      bytes.readUInt16LE(18) !== LEAF_PAGE ||
      pageProblem(bytes, at, Number.POSITIVE_INFINITY) !== undefined
    )
      continue
    for (const node of nodesOf(bytes)) {
      const leaf = leafAt(bytes, { page: at, node }, Number.POSITIVE_INFINITY)
      if (leaf !== undefined) yield { leaf, transaction: Number(bytes.readBigUInt64LE(8)) }
    }
  }
}

/** An entry that a walk has found, read again. */
export function leafOn(file: PageFile, at: LeafPlace): Leaf | undefined {
  const bytes = file.page(at.page)
  return bytes === undefined ? undefined : leafAt(bytes, at, Number.POSITIVE_INFINITY)
}

/** The value of an entry. Undefined if the pages that it names do not store it. */
export function storedValue(file: PageFile, { value, overflow }: Leaf): Buffer | undefined {
  if (value !== undefined || overflow === undefined) return value
  // Computed from the value's length: the stored page count may be damaged.
  const pages = Math.ceil((PAGE_HEAD_BYTES + overflow.bytes) / file.page_bytes)
  const bytes = overflow.bytes > MOST_VALUE_BYTES ? undefined : file.page(overflow.page, pages)
  if (bytes === undefined || bytes.readUInt16LE(18) !== OVERFLOW_PAGE) return undefined
  if (bytes.readBigUInt64LE(0) !== BigInt(overflow.page)) return undefined
  return bytes.subarray(PAGE_HEAD_BYTES, PAGE_HEAD_BYTES + overflow.bytes)
}

const MOST_DEPTH = 32
/** Larger than any record. */
const MOST_VALUE_BYTES = 1024 * 1024 * 1024
const BRANCH_PAGE = 0x01
const LEAF_PAGE = 0x02
const OVERFLOW_PAGE = 0x04
const NODE_HEAD_BYTES = 8
const OVERFLOW_REFERENCE_BYTES = 24
const VALUE_IS_ELSEWHERE = 0x01
const VALUE_IS_TREE = 0x02

function pageProblem(bytes: Buffer, at: number, newest: number): string | undefined {
  const flags = bytes.readUInt16LE(18)
  if (bytes.readBigUInt64LE(0) !== BigInt(at)) return `says that it is page ${bytes.readBigUInt64LE(0)}`
  if (flags !== BRANCH_PAGE && flags !== LEAF_PAGE) return `is of kind ${flags}, expected a branch or a leaf`
  if (bytes.readBigUInt64LE(8) > newest) return `is of transaction ${bytes.readBigUInt64LE(8)}, later than any`
  const [lower, upper] = [bytes.readUInt16LE(20), bytes.readUInt16LE(22)]
  if (lower > upper || upper + PAGE_HEAD_BYTES > bytes.byteLength || lower % 2 !== 0)
    return 'contradicts itself about its entries'
  if (flags === BRANCH_PAGE && countOf(bytes) === 0) return 'is a branch that leads nowhere'
  return undefined
}

function overflowProblem({ overflow }: Leaf, file: PageFile, seen: PageSet): string | undefined {
  if (overflow === undefined) return undefined
  const { page, pages } = overflow
  if (page + pages > file.pages) return 'has a value behind the end of the file'
  for (let i = 0; i < pages; i += 1)
    if (!seen.add(page + i)) return `has a value on page ${page + i}, which is another's`
  return undefined
}

const countOf = (bytes: Buffer): number => bytes.readUInt16LE(20) >> 1

/** Where the entries' heads begin; entries outside the page are left out. */
function nodesOf(bytes: Buffer): number[] {
  const lower = bytes.readUInt16LE(20)
  const found: number[] = []
  for (let i = 0; i < countOf(bytes); i += 1) {
    const at = bytes.readUInt16LE(PAGE_HEAD_BYTES + i * 2)
    if (at >= lower && PAGE_HEAD_BYTES + at + NODE_HEAD_BYTES <= bytes.byteLength) found.push(PAGE_HEAD_BYTES + at)
  }
  return found
}

function childOf(bytes: Buffer, node: number): number {
  return bytes.readUInt32LE(node) + bytes.readUInt16LE(node + 4) * 2 ** 32
}

function leafAt(bytes: Buffer, at: LeafPlace, newest: number): Leaf | undefined {
  const { node } = at
  const length = bytes.readUInt32LE(node)
  const flags = bytes.readUInt16LE(node + 4)
  const key_end = node + NODE_HEAD_BYTES + bytes.readUInt16LE(node + 6)
  const elsewhere = (flags & VALUE_IS_ELSEWHERE) !== 0
  const end = key_end + (elsewhere ? OVERFLOW_REFERENCE_BYTES : length)
  if (end > bytes.byteLength || key_end === node + NODE_HEAD_BYTES) return undefined
  const key = bytes.subarray(node + NODE_HEAD_BYTES, key_end)
  const is_tree = (flags & VALUE_IS_TREE) !== 0
  if (!elsewhere) return { at, key, is_tree, value: bytes.subarray(key_end, end) }
  const page = Number(bytes.readBigUInt64LE(key_end))
  const pages = Number(bytes.readBigUInt64LE(key_end + 16))
  const fits =
    pages > 0 && bytes.readBigUInt64LE(key_end + 8) <= newest && pages * bytes.byteLength >= PAGE_HEAD_BYTES + length
  return fits && Number.isSafeInteger(page + pages)
    ? { at, key, is_tree, overflow: { page, pages, bytes: length } }
    : undefined
}
