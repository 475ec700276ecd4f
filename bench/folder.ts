import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface BenchFolder {
  readonly path: string
  /** A new path in the folder. */
  fresh(name: string): string
  remove(): Promise<void>
}

/** A folder for one benchmark, on the disk that TMPDIR names. */
export async function benchFolder(): Promise<BenchFolder> {
  const path = await mkdtemp(join(tmpdir(), 'plumbline-bench-'))
  let count = 0
  return {
    path,
    fresh: (name) => join(path, `${name}-${count++}`),
    remove: () => rm(path, { recursive: true, force: true }),
  }
}
