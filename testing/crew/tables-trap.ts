import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import type { Trap } from './message.ts'

/**
 * A trap for DuckDB's process. It is two processes away from the test, so the trap is a file, which the process
 * looks for at every stage of its transactions.
 */
export class TablesTrap {
  readonly #file: string
  #left: number | undefined

  constructor(file: string) {
    this.#file = file
  }

  set(trap: Trap): void {
    writeFileSync(`${this.#file}.new`, JSON.stringify(trap))
    renameSync(`${this.#file}.new`, this.#file)
  }

  unset(): void {
    rmSync(this.#file, { force: true })
  }

  /** Called in the trapped process. */
  at(stage: Trap['stage']): void {
    const trap = this.#look()
    if (trap === undefined) this.#left = undefined
    if (trap?.stage !== stage) return
    this.#left = (this.#left ?? trap.commit) - 1
    if (this.#left > 0) return
    this.unset()
    process.kill(process.pid, trap.signal)
  }

  #look(): Trap | undefined {
    try {
      return JSON.parse(readFileSync(this.#file, 'utf8')) as Trap
    } catch {
      return undefined
    }
  }
}
