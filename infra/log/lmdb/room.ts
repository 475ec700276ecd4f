import { statfsSync } from 'node:fs'
import { LogFullError } from '../port/log.ts'
import type { Request } from './request.ts'
import type { Tables } from './tables.ts'

/**
 * Refuses writes for which there may be no room, before LMDB tries them: when LMDB itself runs out of room, lmdb-js
 * 3.5.6 writes a message of up to 114 bytes into a buffer of 100 (`last_error` in mdb.c), and the process may abort at
 * any time after that. To be called inside the write transaction. Deletions are always allowed.
 *
 * @throws LogFullError
 */
export function expectRoom(dir: string, tables: Tables, requests: readonly Request[]): void {
  const asking = requests.filter(({ kind }) => kind !== 'trim')
  if (asking.length === 0) return
  const chunks = asking.reduce((sum, request) => sum + bytesOf(request), 0)
  const free = freeBytes(dir)
  if (free >= chunks + MARGIN_BYTES) return
  const { file, unused } = pagesOf(tables)
  // A chunk needs adjacent pages. Only deleted records leave those; the unused pages of trees are scattered.
  const fits = chunks > 0 ? unused >= file / 4 && unused >= 4 * (chunks + TREE_BYTES) : unused >= 2 * TREE_BYTES
  if (fits) return
  throw new LogFullError(
    `lmdb:${dir}: expected room on the disk, found none. Nothing was written; make room and retry. ` +
      `(${free} bytes are free, expected ${chunks + MARGIN_BYTES})`,
  )
}

/** Free bytes for this user on the disk of a folder. */
export function freeBytes(dir: string): number {
  try {
    const { bavail, bsize } = statfsSync(dir)
    return bavail * bsize
  } catch {
    return Number.POSITIVE_INFINITY
  }
}

/** The tree pages that a small transaction rewrites. */
const TREE_BYTES = 32 * 4096
/** Other programs may write to the disk between this check and LMDB's write. */
const MARGIN_BYTES = 1024 * 1024

function bytesOf(request: Request): number {
  if (request.kind !== 'commit') return 0
  let bytes = 0
  for (const { chunks } of request.appends) {
    // On its own pages a chunk also needs a page header and the unused rest of its last page.
    for (const chunk of chunks) bytes += chunk.bytes.byteLength + 2 * 4096
  }
  return bytes
}

/** Size of the file, and of its pages that no table uses. */
function pagesOf({ env, chunks, catalog }: Tables): { readonly file: number; readonly unused: number } {
  const { lastPageNumber, pageSize, root, free } = env.getStats() as unknown as EnvironmentStats
  const trees = [root, free, chunks.getStats() as unknown as TreeStats, catalog.getStats() as unknown as TreeStats]
  const used = trees.reduce(
    (sum, tree) => sum + tree.treeBranchPageCount + tree.treeLeafPageCount + tree.overflowPages,
    META_PAGES,
  )
  return { file: (lastPageNumber + 1) * pageSize, unused: Math.max(0, lastPageNumber + 1 - used) * pageSize }
}

const META_PAGES = 2

interface TreeStats {
  readonly treeBranchPageCount: number
  readonly treeLeafPageCount: number
  readonly overflowPages: number
}

interface EnvironmentStats {
  readonly pageSize: number
  readonly lastPageNumber: number
  readonly root: TreeStats
  readonly free: TreeStats
}
