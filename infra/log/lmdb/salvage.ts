import { lmdb } from './lmdb-js.ts'
import { type Meta, type PageFile, type SoundMeta, TREE_BYTES, type Tree, treeIn } from './page-file.ts'
import type { CatalogKey } from './tables.ts'
import { everyLeaf, type LeafPlace, leafOn, PageSet, storedValue, walkTree } from './tree-walk.ts'

/** Missing from the package's types. */
const { bufferToKeyValue } = lmdb as unknown as { bufferToKeyValue(bytes: Buffer): unknown }

/** A copy of an entry, anywhere in the file. */
export interface Copy {
  readonly at: LeafPlace
  readonly transaction: number
  /** The tree of the newest transaction contains it: this is the copy that a reader would get. */
  readonly in_tree: boolean
}

export interface CatalogCopy extends Copy {
  readonly key: CatalogKey
  readonly value: unknown
}

/** The entries found in a damaged data file, inside and outside its trees. Values of chunks are read on demand. */
export interface Salvage {
  /** Copies by the hexadecimal key of the chunk: the one in the tree first, then the newest. */
  readonly chunks: ReadonlyMap<string, readonly Copy[]>
  readonly catalog: readonly CatalogCopy[]
  /** Whether pages of the trees are damaged or gone: what they held may be lost. */
  readonly is_incomplete: boolean
  /** Inconsistencies in the trees, limited to as many as a person reads. */
  readonly problems: readonly string[]
}

/** Reads every page of the file once, and those of its trees twice. */
export function salvage(file: PageFile): Salvage {
  const chunks = new Map<string, Copy[]>()
  const catalog: CatalogCopy[] = []
  const problems: string[] = []
  const report = (problem: string) => {
    if (problems.length < MOST_PROBLEMS && !problems.includes(problem)) problems.push(problem)
  }
  const [newest, is_last] = newestOf(file, report)
  let is_incomplete = false
  const reportOfTree = (problem: string) => {
    is_incomplete = true
    report(problem)
  }
  const in_trees = new Set<string>()
  for (const tree of newest === undefined ? [] : tablesOf(file, newest, reportOfTree)) {
    const walk = { report: reportOfTree, transaction: newest?.transaction ?? 0, used: new PageSet() }
    for (const { at } of walkTree(file, tree, walk)) in_trees.add(`${at.page}/${at.node}`)
  }
  for (const { leaf, transaction } of everyLeaf(file)) {
    if (leaf.overflow !== undefined && leaf.overflow.page + leaf.overflow.pages > file.pages) is_incomplete = true
    if (leaf.is_tree) continue
    const { at, key: bytes } = leaf
    const in_tree = in_trees.has(`${at.page}/${at.node}`)
    const key = catalogKey(bytes)
    // A chunk never changes, but a catalog entry is current only in the file's last transaction.
    if (key !== undefined)
      catalog.push({ at, transaction, in_tree: in_tree && is_last, key, value: jsonIn(storedValue(file, leaf)) })
    else if (bytes.byteLength === CHUNK_KEY_BYTES) addCopy(chunks, bytes.toString('hex'), { at, transaction, in_tree })
  }
  return { chunks, catalog, is_incomplete, problems }
}

/** The bytes of a chunk, or undefined if its pages have been reused. */
export function bytesAt(file: PageFile, { at }: Copy): Buffer | undefined {
  const leaf = leafOn(file, at)
  return leaf === undefined ? undefined : storedValue(file, leaf)
}

const MOST_PROBLEMS = 20
const CHUNK_KEY_BYTES = 16
/** Older copies retained per chunk. More exist: LMDB copies a leaf page whenever one of its entries changes. */
const MOST_OLDER = 3
const KINDS = ['format', 'log_id', 'topics', 'topic', 'producer', 'group', 'position', 'lost']

/** @returns also whether it is surely the last transaction: a damaged or distant other meta page leaves that open */
function newestOf(file: PageFile, report: (problem: string) => void): [SoundMeta | undefined, boolean] {
  const metas = file.metas()
  for (const meta of metas) if ('problem' in meta) report(meta.problem)
  const sound = metas.filter((meta: Meta): meta is SoundMeta => !('problem' in meta))
  const [newest, other] = sound.sort((a, b) => b.transaction - a.transaction)
  const apart = (newest?.transaction ?? 0) - (other?.transaction ?? 0)
  if (other !== undefined && apart > 1) report(`its meta pages are ${apart} transactions apart`)
  return [newest, other !== undefined && apart <= 1]
}

function tablesOf(file: PageFile, { main, transaction }: SoundMeta, report: (problem: string) => void): Tree[] {
  const trees: Tree[] = []
  for (const leaf of walkTree(file, main, { report, transaction })) {
    const table = leaf.is_tree ? storedValue(file, leaf) : undefined
    if (table?.byteLength === TREE_BYTES) trees.push(treeIn(table))
    else report('its list of tables has an entry that is none')
  }
  if (trees.length < 2) report('its list of tables is not whole')
  return trees
}

function addCopy(chunks: Map<string, Copy[]>, key: string, copy: Copy): void {
  const copies = chunks.get(key)
  if (copies === undefined) chunks.set(key, [copy])
  else {
    copies.push(copy)
    copies.sort((a, b) => Number(b.in_tree) - Number(a.in_tree) || b.transaction - a.transaction)
    if (copies.length > MOST_OLDER + 1) copies.pop()
  }
}

function catalogKey(bytes: Buffer): CatalogKey | undefined {
  try {
    const key = bufferToKeyValue(bytes)
    const [kind] = Array.isArray(key) ? (key as CatalogKey) : [key as string]
    return KINDS.includes(String(kind)) ? ([key].flat() as CatalogKey) : undefined
  } catch {
    return undefined
  }
}

function jsonIn(bytes: Buffer | undefined): unknown {
  try {
    return bytes === undefined ? undefined : JSON.parse(bytes.toString('utf8'))
  } catch {
    return undefined
  }
}
