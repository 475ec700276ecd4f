import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'

export interface KeptOptions {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  readonly cwd: string
  readonly env?: Readonly<Record<string, string>>
  readonly output: string
  /** Called when the process ends, wanted or not. */
  readonly onEnd?: (code: number | null, signal: string | null) => void
}

/** A process that can be started again. Its output goes to a file, and the last of it is kept for messages. */
export class Process {
  readonly name: string
  readonly #options: KeptOptions
  readonly #child: ChildProcess
  readonly ended: Promise<{ readonly code: number | null; readonly signal: string | null }>
  readonly lines: string[] = []
  is_running = true
  tail = ''

  constructor(options: KeptOptions) {
    this.name = options.name
    this.#options = options
    const { PLUMBLINE_DATA: _data, PLUMBLINE_LOG: _log, NODE_OPTIONS: _options, ...inherited } = process.env
    this.#child = spawn(options.command, options.args, {
      cwd: options.cwd,
      env: { ...inherited, NO_COLOR: '1', ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const output = createWriteStream(options.output, { flags: 'a' })
    output.write(`-- ${options.name} ${this.#child.pid}\n`)
    let rest = ''
    this.#child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      output.write(chunk)
      const lines = `${rest}${chunk}`.split('\n')
      rest = lines.pop() ?? ''
      this.lines.push(...lines)
    })
    this.#child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      output.write(chunk)
      this.tail = `${this.tail}${chunk}`.slice(-4_000)
    })
    this.ended = once(this.#child, 'close').then(([code, signal]) => {
      this.is_running = false
      output.end()
      this.#options.onEnd?.(code, signal)
      return { code, signal }
    })
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.is_running) this.#child.kill(signal)
    await this.ended
  }
}
