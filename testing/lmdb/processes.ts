import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** Real processes for the log's recovery tests, and their folder; `await using` kills them and removes the folder. */
export class Processes implements AsyncDisposable {
  readonly dir: string
  readonly #children: Child[] = []

  constructor(dir = mkdtempSync(join(tmpdir(), 'plumbline-log-'))) {
    this.dir = dir
  }

  /** @param within A command that starts the process elsewhere, e.g. in another PID namespace, as its parent. */
  start(role: string, args: object, options: SpawnOptions = {}, within: readonly string[] = []): Child {
    const child = new Child(role, this.dir, args, options, within)
    this.#children.push(child)
    return child
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) await child.end()
    rmSync(this.dir, { recursive: true, force: true })
  }
}

export type Said = Record<string, unknown>

export class Child {
  readonly said: Said[] = []
  errors = ''
  readonly exited: Promise<number | null>
  readonly #process: ChildProcess
  #heard: (() => void)[] = []

  constructor(role: string, dir: string, args: object, options: SpawnOptions, within: readonly string[]) {
    const program = fileURLToPath(new URL('./process.ts', import.meta.url))
    const [command = '', ...words] = [...within, process.execPath, program, role, dir, JSON.stringify(args)]
    this.#process = spawn(command, words, { stdio: 'pipe', ...options })
    this.#process.stderr?.on('data', (data) => {
      this.errors += data
    })
    if (this.#process.stdout) createInterface(this.#process.stdout).on('line', (line) => this.#hear(JSON.parse(line)))
    this.exited = new Promise((resolve) => {
      this.#process.once('close', (code) => {
        resolve(code)
        this.#wake()
      })
    })
  }

  /** The first output line that matches, whether it has been printed already or not. */
  async says(fits: (said: Said) => boolean, limit_ms = 30_000): Promise<Said> {
    const deadline_ms = performance.now() + limit_ms
    for (;;) {
      const found = this.said.find(fits)
      if (found !== undefined) return found
      const left_ms = deadline_ms - performance.now()
      const gone = this.#process.exitCode !== null || this.#process.signalCode !== null
      if (left_ms <= 0 || gone) {
        throw new Error(`process ${this.#process.pid} said only ${JSON.stringify(this.said)} ${this.errors}`)
      }
      await new Promise<void>((resolve) => {
        this.#heard.push(resolve)
        setTimeout(resolve, Math.min(left_ms, 1_000))
      })
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal)
  }

  get pid(): number {
    return this.#process.pid as number
  }

  async end(): Promise<void> {
    this.#process.kill('SIGKILL')
    await this.exited
  }

  #hear(said: Said): void {
    this.said.push(said)
    this.#wake()
  }

  #wake(): void {
    for (const resolve of this.#heard.splice(0)) resolve()
  }
}
