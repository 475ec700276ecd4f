import { spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { join } from 'node:path'

const SIZE = '768m'

function mount(dir: string): string | undefined {
  const { status, stderr, error } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${SIZE}`, 'tmpfs', dir], {
    encoding: 'utf8',
  })
  return status === 0 ? undefined : (error?.message ?? stderr.trim())
}

/** A file system of its own, small enough to be filled. */
export class SmallDisk {
  readonly dir: string
  /** Why it is an ordinary folder that cannot be filled; undefined when it is a file system. */
  readonly refused: string | undefined

  constructor(dir: string) {
    this.dir = dir
    mkdirSync(dir, { recursive: true })
    this.refused = mount(dir)
  }

  /** Leaves so many bytes of room. */
  fill(left_bytes: number): void {
    const { bavail, bsize } = statfsSync(this.dir)
    let room = Math.max(0, bavail * bsize - left_bytes)
    const chunk = Buffer.alloc(4 * 1024 * 1024)
    const file = openSync(join(this.dir, 'ballast'), 'w')
    try {
      while (room > 0) room -= writeSync(file, chunk, 0, Math.min(chunk.length, room))
    } catch (error) {
      // Others write too: when they were faster, it is full as well.
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    } finally {
      closeSync(file)
    }
  }

  free(): void {
    rmSync(join(this.dir, 'ballast'), { force: true })
  }

  unmount(): void {
    if (this.refused === undefined) spawnSync('umount', ['--lazy', this.dir])
  }
}
