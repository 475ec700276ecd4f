import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { MemberSays } from './member-process.ts'

const PROGRAM = fileURLToPath(new URL('./member-process.ts', import.meta.url))

/** A worker in a separate process. */
export class MemberProcess {
  readonly #child: ChildProcess
  readonly #ended: Promise<unknown>
  readonly owned = new Set<number>()
  records = 0

  /** @param heard called with each message of the process, after the fields of this object are updated */
  constructor(address: string, run: string, session_ms: number, heard: (says: MemberSays) => void) {
    this.#child = spawn(process.execPath, [...process.execArgv, PROGRAM, address, run, String(session_ms)], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    this.#ended = once(this.#child, 'close')
    this.#child.on('message', (message) => {
      const says = message as MemberSays
      if (says.says === 'restored') this.owned.add(says.partition)
      else this.records += says.records
      heard(says)
    })
  }

  go(): void {
    this.#child.send('go')
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#ended
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGTERM')
    await this.#ended
  }
}

/** Polls until the condition is true. @throws Error when it is not within the limit */
export async function until(isSo: () => boolean, limit_ms: number, what: string): Promise<void> {
  const deadline_ms = performance.now() + limit_ms
  while (!isSo()) {
    if (performance.now() > deadline_ms) throw new Error(`${what}: not within ${limit_ms / 1_000} s`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
