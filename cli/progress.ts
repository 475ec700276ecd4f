import { number } from '../pipeline/text/number.ts'
import { printable } from '../pipeline/text/terminal-text.ts'

/**
 * Progress of long work on standard error: on a terminal one line that is overwritten, elsewhere a line every few
 * seconds. Nothing with `--json`.
 */
export class Progress {
  readonly #label: string
  readonly #silent: boolean
  readonly #started = performance.now()
  #last_ms = 0
  #shown = false

  constructor(label: string, options: { readonly silent: boolean }) {
    this.#label = label
    this.#silent = options.silent
  }

  /** @param total undefined when it is not known how much is left */
  at(done: number, total?: number, detail = ''): void {
    const now = performance.now()
    if (this.#silent || now - this.#last_ms < (process.stderr.isTTY ? 100 : 5_000)) return
    this.#last_ms = now
    const seconds = (now - this.#started) / 1_000
    if (seconds < 0.5) return
    const rate = done / seconds
    const parts = [
      `${this.#label} ${number(done)}${total === undefined ? '' : `/${number(total)}`}`,
      `${number(rate)}/s`,
    ]
    if (total !== undefined && rate > 0) parts.push(`${((total - done) / rate).toFixed(0)} s left`)
    if (detail !== '') parts.push(detail)
    this.#write(parts.join(', '))
  }

  /** A line of its own, which stays. */
  say(message: string): void {
    if (this.#silent) return
    if (this.#shown && process.stderr.isTTY) process.stderr.write('\r\x1b[K')
    process.stderr.write(printable(`${this.#label}: ${message}\n`))
  }

  /** Ends the line with a summary of the result. */
  done(summary: string): void {
    if (this.#silent) return
    const seconds = ((performance.now() - this.#started) / 1_000).toFixed(1)
    if (this.#shown && process.stderr.isTTY) process.stderr.write('\r\x1b[K')
    process.stderr.write(printable(`${this.#label}: ${summary} (${seconds} s)\n`))
  }

  #write(line: string): void {
    this.#shown = true
    const text = printable(line)
    process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}` : `${text}\n`)
  }
}
