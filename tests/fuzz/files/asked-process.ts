import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'

const MOST_MS = 60_000

/** A damaged file has ended the process that used it. */
export class ProcessDiedError extends Error {
  override readonly name = 'ProcessDiedError'
}

/** A process that reads a line of JSON and answers with one. A damaged file may end it: the next question starts another. */
export class AskedProcess<Question, Answer> {
  readonly #program: string
  #process: ChildProcessByStdio<Writable, Readable, null> | undefined

  /** @param program in the folder of this module */
  constructor(program: string) {
    this.#program = fileURLToPath(new URL(program, import.meta.url))
  }

  /** @throws ProcessDiedError; Error when there is no answer in time, and then the process is ended. */
  async ask(question: Question): Promise<Answer> {
    this.#process ??= this.#start()
    const asked = this.#process
    const { stdin, stdout } = asked
    const lines = createInterface(stdout)
    const over = new AbortController()
    const { signal } = over
    try {
      stdin.write(`${JSON.stringify(question)}\n`)
      const answer = once(lines, 'line', { signal }).then(([line]) => JSON.parse(line as string) as Answer)
      const died = once(asked, 'exit', { signal }).then(([code, ended_by]) => {
        throw new ProcessDiedError(`the process that used it has ended: exit code ${code}, signal ${ended_by}`)
      })
      const late = new Promise<never>((_resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`no answer within ${MOST_MS / 1_000} s`)), MOST_MS)
        signal.addEventListener('abort', () => clearTimeout(timer))
      })
      for (const each of [answer, died, late]) each.catch(() => {})
      return await Promise.race([answer, died, late])
    } catch (cause) {
      await this.close()
      throw cause
    } finally {
      over.abort()
      lines.close()
    }
  }

  #start() {
    const started = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', this.#program], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    started.stdin.on('error', () => {}) // the caller is told when the process ends
    return started
  }

  async close(): Promise<void> {
    const last = this.#process
    this.#process = undefined
    if (last === undefined || last.exitCode !== null || last.signalCode !== null) return
    const ended = once(last, 'exit')
    last.kill('SIGKILL')
    await ended
  }
}
