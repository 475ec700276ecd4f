import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, type WriteStream } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Message, Trap } from './message.ts'
import type { Place } from './places.ts'

export interface Program {
  readonly file: string
  readonly args: readonly string[]
}

/** How a process ended without a request to do so. */
export interface Unasked {
  readonly place: Place
  readonly how: string
  readonly errors: string
}

export interface SlotOptions {
  readonly place: Place
  /** The next program to run in the slot; undefined for none. */
  readonly program: () => Program | undefined
  readonly env: Readonly<Record<string, string>>
  readonly output: string
  readonly onStart: () => void
  readonly onMessage: (message: Message) => void
  /** @returns whether the end is excused, so that the process is started again */
  readonly onUnasked: (unasked: Unasked) => boolean
  /** Called when the process ends by itself with code 0. */
  readonly onDone: () => void
}

const CLOCK = new URL('./shifted-clock.ts', import.meta.url).href
const AFTER_TROUBLE_MS = 500

export const fileOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

/** A slot for a process, which is started again when it dies. */
export class Slot {
  readonly #options: SlotOptions
  readonly #output: WriteStream
  #child: ChildProcess | undefined
  #doomed = false
  #ending = false
  #empty_ms = 0
  #ended: Promise<unknown> = Promise.resolve()
  deaths = 0

  constructor(options: SlotOptions) {
    this.#options = options
    this.#output = createWriteStream(options.output, { flags: 'a' })
  }

  /** Undefined while no process runs. */
  get pid(): number | undefined {
    return this.#child?.pid
  }

  start(): void {
    const program = this.#options.program()
    if (program === undefined || this.#ending) return
    const child = spawn(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', '--import', CLOCK, program.file, ...program.args],
      { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], env: { ...process.env, NODE_OPTIONS: '', ...this.#options.env } },
    )
    this.#child = child
    this.#options.onStart()
    let errors = ''
    this.#output.write(`-- process ${child.pid}\n`)
    child.stdout?.on('data', (chunk) => this.#output.write(chunk))
    child.stderr?.on('data', (chunk) => {
      errors = `${errors}${chunk}`.slice(-4_000)
      this.#output.write(chunk)
    })
    child.on('message', (message) => this.#options.onMessage(message as Message))
    this.#ended = once(child, 'close').then(([code, signal]) => this.#end(code, signal, errors))
  }

  #end(code: number | null, signal: string | null, errors: string): void {
    this.#child = undefined
    const doomed = this.#doomed
    this.#doomed = false
    if (doomed) {
      this.deaths++
      setTimeout(() => this.start(), this.#empty_ms)
    } else if (code === 0) {
      this.#options.onDone()
      this.start()
    } else if (this.#ending && signal === 'SIGTERM') {
      // SIGTERM arrived before the process had a handler for it.
    } else if (this.#options.onUnasked({ place: this.#options.place, how: signal ?? `code ${code}`, errors })) {
      setTimeout(() => this.start(), AFTER_TROUBLE_MS)
    }
  }

  /** Expects the next end of this process; it is started again after `empty_ms`. */
  doom(empty_ms: number): void {
    this.#doomed = true
    this.#empty_ms = empty_ms
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal)
  }

  set(trap: Trap): void {
    this.#child?.send(trap)
  }

  /** Ends it with SIGTERM and starts nothing afterwards. @throws Error when it does not end in time. */
  async end(limit_ms: number): Promise<void> {
    this.#ending = true
    this.signal('SIGTERM')
    await this.#gone(limit_ms)
  }

  async kill(): Promise<void> {
    this.#ending = true
    this.doom(0)
    this.signal('SIGCONT')
    this.signal('SIGKILL')
    await this.#ended
    this.#output.end()
  }

  async #gone(limit_ms: number): Promise<void> {
    const late = Symbol('late')
    const ended = await Promise.race([
      this.#ended,
      new Promise((resolve) => setTimeout(() => resolve(late), limit_ms).unref()),
    ])
    if (ended === late) throw new Error(`${this.#options.place} did not end within ${limit_ms / 1_000} s of SIGTERM`)
  }
}
