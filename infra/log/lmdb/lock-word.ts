import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'

/**
 * Looks at LMDB's writer lock without taking it.
 *
 * A wait in the mutex itself cannot be cancelled: a process that exits while one of its threads waits there hangs
 * until the holder continues. So a writer looks first and sleeps while another process holds it. This is only a hint:
 * the mutex decides, and the answer may already be stale.
 *
 * The place of the lock word is not assumed but found: it is the word in the lock file's mapping that names one of our
 * threads while this process holds the lock, and no longer does afterwards. A note file stores the place for processes
 * that have not written yet. On platforms whose locks are elsewhere nothing is found, and writers wait in the mutex.
 *
 * The mapping is read through /proc/self/mem: opening and closing the lock file itself would drop the POSIX locks that
 * show LMDB that this process is alive.
 */
export class LockWord {
  readonly #memory: number | undefined
  readonly #mapped_at: number
  readonly #word = Buffer.alloc(4)
  #at: number | undefined

  /** Create it while this process has the environment open; close it before the environment. */
  constructor(lock_file: string) {
    this.#mapped_at = mappedAt(lock_file)
    this.#memory = this.#mapped_at === 0 ? undefined : openSync('/proc/self/mem', 'r')
  }

  /** Call it inside a write transaction of this thread, and the returned function after that transaction has ended. */
  find(): () => void {
    const threads = ownThreads()
    const held = this.#words()
    return () => {
      const free = this.#words()
      const index = held.findIndex((word, i) => threads.has(threadOf(word)) && !threads.has(threadOf(free[i] ?? 0)))
      this.#at = index === -1 ? undefined : index * 4
    }
  }

  recall(note_file: string): void {
    this.#at = notedAt(note_file) ?? this.#at
  }

  note(note_file: string): void {
    if (this.#at === undefined || notedAt(note_file) !== undefined) return
    const unfinished = `${note_file}.${process.pid}`
    writeFileSync(unfinished, `${JSON.stringify({ about: 'byte of the writer lock in lock.mdb', at: this.#at })}\n`)
    try {
      renameSync(unfinished, note_file)
    } catch {
      rmSync(unfinished, { force: true }) // the path is a folder: the next process searches again
    }
  }

  /** The thread that holds the lock, or 0 if it is free or its place was not found. */
  holder(): number {
    if (this.#memory === undefined || this.#at === undefined) return 0
    readSync(this.#memory, this.#word, 0, 4, this.#mapped_at + this.#at)
    return threadOf(this.#word.readUInt32LE())
  }

  close(): void {
    if (this.#memory !== undefined) closeSync(this.#memory)
  }

  #words(): number[] {
    if (this.#memory === undefined) return []
    const head = Buffer.alloc(SEARCHED_BYTES)
    readSync(this.#memory, head, 0, head.length, this.#mapped_at)
    return Array.from({ length: head.length >> 2 }, (_, i) => head.readUInt32LE(i * 4))
  }
}

/** The lock lies in the head of the file, before the reader table. */
const SEARCHED_BYTES = 512

/** Linux futex words: the two upper bits mean that others wait and that the owner died. */
function threadOf(word: number): number {
  return word & 0x3fffffff
}

/** Address of a file's mapping in this process; 0 if there is none, or the system does not tell. */
export function mappedAt(file: string): number {
  try {
    // The system lists mappings without symbolic links.
    const real = realpathSync(file)
    const line = readFileSync('/proc/self/maps', 'utf8')
      .split('\n')
      .find((l) => l.endsWith(` ${real}`))
    return line === undefined ? 0 : Number.parseInt(line, 16)
  } catch {
    return 0
  }
}

function ownThreads(): Set<number> {
  try {
    return new Set(readdirSync('/proc/self/task').map(Number))
  } catch {
    return new Set()
  }
}

/** For a message: the process of a thread, its name and whether it is stopped, as far as the system reports them. */
export function describeThread(thread: number): string {
  try {
    const status = readFileSync(`/proc/${thread}/status`, 'utf8')
    const process_id = /^Tgid:\s*(\d+)/m.exec(status)?.[1]
    const name = /^Name:\s*(.+)/m.exec(status)?.[1]
    const stopped = /^State:\s*[Tt]/m.test(status)
    return `process ${process_id} (${name}${stopped ? ', stopped' : ''})`
  } catch {
    return `thread ${thread}`
  }
}

/** Undefined if the file is missing or does not contain such a note. */
function notedAt(note_file: string): number | undefined {
  try {
    const note = JSON.parse(readFileSync(note_file, 'utf8')) as { readonly at?: unknown } | null
    const at = note?.at
    return typeof at === 'number' && Number.isInteger(at) && at >= 0 && at < SEARCHED_BYTES ? at : undefined
  } catch {
    return undefined
  }
}
