import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { LockWord } from '../../infra/log/lmdb/lock-word.ts'
import { openTables } from '../../infra/log/lmdb/tables.ts'

/** Finds from outside which process is inside a write transaction of a log. */
export class WriterLock {
  readonly #env: ReturnType<typeof openTables>['env']
  readonly #lock: LockWord

  /** @param dir folder of a log that has been written to */
  constructor(dir: string) {
    this.#env = openTables(dir, true, 'flushed').env
    this.#lock = new LockWord(join(dir, 'lock.mdb'))
    this.#lock.recall(join(dir, 'lock-word.json'))
  }

  /** The id of the process, or undefined when there is none. */
  holder(): number | undefined {
    const thread = this.#lock.holder()
    if (thread === 0) return undefined
    try {
      const status = readFileSync(`/proc/${thread}/status`, 'utf8')
      return Number(/^Tgid:\s*(\d+)/m.exec(status)?.[1])
    } catch {
      return undefined
    }
  }

  async close(): Promise<void> {
    this.#lock.close()
    await this.#env.close()
  }
}
