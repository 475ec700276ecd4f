import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

/** For a person. */
export const inGibibytes = (bytes: number) => `${(bytes / 2 ** 30).toFixed(1)} GiB`

const CALM_MS = 250
/** Short: one thread fills fresh memory at 2 GB a second. */
const WATCHFUL_MS = 50

/** Measures the memory of a process until stopped, or until it exceeds a bound, which is reported. */
export class MemoryWatch {
  /** Last measured, bytes. */
  bytes: number | undefined
  readonly #pid: number
  readonly #bound: number
  readonly #exceeded: (bytes: number) => void
  #timer: NodeJS.Timeout | undefined
  #watchful = false
  #stopped = false

  constructor(pid: number, bound: number, exceeded: (bytes: number) => void) {
    this.#pid = pid
    this.#bound = bound
    this.#exceeded = exceeded
    this.#plan()
  }

  /** Measure more often: memory may grow fast while questions run. */
  set watchful(watchful: boolean) {
    if (watchful === this.#watchful || this.#stopped) return
    this.#watchful = watchful
    this.#plan()
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  #plan(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.#look(), this.#watchful ? WATCHFUL_MS : CALM_MS)
    this.#timer.unref()
  }

  async #look(): Promise<void> {
    const bytes = await anonymousMemory(this.#pid)
    if (this.#stopped) return
    if (bytes !== undefined) this.bytes = bytes
    if (bytes !== undefined && bytes > this.#bound) this.#exceeded(bytes)
    else this.#plan()
  }
}

/**
 * Private memory of a process, bytes. On Linux, pages of mapped files such as the log's do not count: they are
 * reclaimable.
 */
async function anonymousMemory(pid: number): Promise<number | undefined> {
  try {
    if (process.platform === 'linux') {
      const status = await readFile(`/proc/${pid}/status`, 'utf8')
      const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0)
      return (kib('RssAnon') + kib('VmSwap')) * 1024
    }
    const { stdout } = await promisify(execFile)('ps', ['-o', 'rss=', '-p', String(pid)])
    return Number(stdout) * 1024
  } catch {
    return undefined // it has just ended
  }
}
