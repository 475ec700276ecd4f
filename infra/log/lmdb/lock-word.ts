import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  writeFileSync,
} from 'node:fs'

/**
 * Looks at LMDB's writer lock without taking it.
 *
 * Waiting in the mutex itself cannot be given up: a process that exits while one of its threads waits there hangs
 * until the holder goes on. So a writer looks first and sleeps while somebody holds it. It is only a hint: the
 * mutex decides, and the answer may be old when it arrives.
 *
 * Where the lock word lies is not assumed but found: while this process holds the lock, it is the word in the lock
 * file's mapping that names one of our threads, and afterwards it does not. A note keeps the place for those who
 * have not written yet. On platforms whose locks are elsewhere nothing is found, and writers wait in the mutex.
 *
 * The mapping is read through /proc/self/mem: opening and closing the lock file itself would drop the POSIX locks by
 * which LMDB knows that this process is alive.
 */
export class LockWord {
  readonly #memory: number | undefined
  readonly #mapped_at: number
  readonly #word = Buffer.alloc(4)
  #at: number | undefined

  /** To be called while this process has the environment open, and closed before that is. */
  constructor(lock_file: string) {
    this.#mapped_at = mappedAt(lock_file)
    this.#memory = this.#mapped_at === 0 ? undefined : openSync('/proc/self/mem', 'r')
  }

  /** To be called inside a write transaction of this thread; returns what to call after its end. */
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
    if (!existsSync(note_file)) return
    const { at } = JSON.parse(readFileSync(note_file, 'utf8')) as { at?: number }
    if (typeof at === 'number' && at >= 0 && at < SEARCHED_BYTES) this.#at = at
  }

  note(note_file: string): void {
    if (this.#at === undefined || existsSync(note_file)) return
    const unfinished = `${note_file}.${process.pid}`
    writeFileSync(unfinished, `${JSON.stringify({ about: 'byte of the writer lock in lock.mdb', at: this.#at })}\n`)
    renameSync(unfinished, note_file)
  }

  /** The thread that holds the lock, or 0 when it is free or that is not known. */
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

/** Linux futex words: the two upper bits say that others wait and that the owner died. */
function threadOf(word: number): number {
  return word & 0x3fffffff
}

function mappedAt(file: string): number {
  try {
    const line = readFileSync('/proc/self/maps', 'utf8')
      .split('\n')
      .find((l) => l.endsWith(` ${file}`))
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

/** For a message: which process a thread belongs to and what it does, as far as the system tells. */
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
