import { realpathSync } from 'node:fs'
import type { Durability } from './tables.ts'

/** What a handle asks of the environment. */
export interface Use {
  readonly access: 'write' | 'read'
  readonly durability: Durability
}

/**
 * Registers a handle of a folder. lmdb-js opens a file once per process, so all handles share one environment, with
 * the access and the flushing that the first of them asked for, until the last of them is closed.
 *
 * @param folder as `realFolder` gives it
 * @param dir the folder's name for messages
 * @returns a function to call after the handle was closed
 * @throws Error when the shared environment cannot do what the handle needs
 */
export function shareEnvironment(folder: string, dir: string, { access, durability }: Use): () => void {
  const shared = SHARED.get(folder) ?? { first: { access, durability }, handles: 0 }
  const { first, handles } = shared
  if (access === 'write' && first.access === 'read') {
    throw new Error(
      `lmdb:${dir}: expected no handle of this process that was opened with access 'read' first, found ${handles}. ` +
        'Close it, or open for writing first.',
    )
  }
  if (access === 'write' && durability === 'flushed' && first.durability !== 'flushed') {
    throw new Error(
      `lmdb:${dir}: expected no handle of this process that was opened with durability '${first.durability}' first, ` +
        `found ${handles}: commits would not be flushed. Close it, or open with durability 'flushed' first.`,
    )
  }
  shared.handles += 1
  SHARED.set(folder, shared)
  return () => {
    shared.handles -= 1
    if (shared.handles === 0) SHARED.delete(folder)
  }
}

const SHARED = new Map<string, { readonly first: Use; handles: number }>()

/** The folder without symbolic links: LMDB shares environments whatever name a folder was opened by. */
export function realFolder(dir: string): string {
  try {
    return realpathSync(dir)
  } catch {
    return dir
  }
}
