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

/** How a process ended that nobody had asked to. */
export interface Unasked {
  readonly place: Place
  readonly how: string
  readonly errors: string
}

export interface SlotOptions {
  readonly place: Place
  /** What runs there next; nothing more when undefined. */
  readonly program: () => Program | undefined
  readonly env: Readonly<Record<string, string>>
  readonly output: string
  readonly onStart: () => void
  readonly onMessage: (message: Message) => void
  /** @returns whether its end is excused, so that another one is started */
  readonly onUnasked: (unasked: Unasked) => boolean
  /** It ended well by itself. */
  readonly onDone: () => void
}

const CLOCK = new URL('./shifted-clock.ts', import.meta.url).href
const AFTER_TROUBLE_MS = 500

export const fileOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

/** A place where a process runs, and when it dies another one. */
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

  /** Undefined while the place is empty. */
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
      // It was told to end before it had begun.
    } else if (this.#options.onUnasked({ place: this.#options.place, how: signal ?? `code ${code}`, errors })) {
      setTimeout(() => this.start(), AFTER_TROUBLE_MS)
    }
  }

  /** The next end of this process is meant; the place stays empty for so long. */
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

  /** Lets it come to its end, and nothing follows. @throws Error when it does not end in time. */
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
