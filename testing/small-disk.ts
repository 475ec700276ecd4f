import { spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { join } from 'node:path'

function mount(...args: readonly string[]): string | undefined {
  const { status, stderr, error } = spawnSync('mount', args, { encoding: 'utf8' })
  return status === 0 ? undefined : (error?.message ?? stderr.trim())
}

/** A separate file system, small enough to be filled. */
export class SmallDisk implements Disposable {
  readonly dir: string
  /** Why it is an ordinary folder that cannot be filled; undefined when it is a file system. */
  readonly refused: string | undefined

  /** @param size in the notation of tmpfs */
  constructor(dir: string, size: string) {
    this.dir = dir
    mkdirSync(dir, { recursive: true })
    this.refused = mount('-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', dir)
  }

  /** Mounts it again with other options, e.g. `ro`. @returns why that was refused */
  remount(options: string): string | undefined {
    return mount('-o', `remount,${options}`, this.dir)
  }

  /** Fills the disk and leaves this many bytes free. */
  fill(left_bytes: number): void {
    const { bavail, bsize } = statfsSync(this.dir)
    let room = Math.max(0, bavail * bsize - left_bytes)
    const chunk = Buffer.alloc(4 * 1024 * 1024)
    const file = openSync(join(this.dir, 'ballast'), 'w')
    try {
      while (room > 0) room -= writeSync(file, chunk, 0, Math.min(chunk.length, room))
    } catch (error) {
      // Other processes write too, so the disk may be full earlier.
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

  [Symbol.dispose](): void {
    this.unmount()
  }
}
