import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** The program as a person starts it: in a process of its own, with the Node of this one. */

const PROGRAM = fileURLToPath(new URL('../cli/main.ts', import.meta.url))

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Place {
  /** Working folder; relative paths on the command line start here. */
  readonly cwd: string
  readonly env?: Readonly<Record<string, string>>
  /** A command prefix that executes it elsewhere, e.g. in another network namespace. */
  readonly within?: readonly string[]
  /** A file descriptor for its standard output, which is then not collected here. */
  readonly stdout?: number
}

export interface Running {
  readonly child: ChildProcess
  readonly pid: number
  readonly ended: Promise<Ended>
  stdout(): string
  stderr(): string
}

/** Starts the program without waiting for its end. */
export function start(args: readonly string[], { cwd, env = {}, within = [], stdout: output }: Place): Running {
  const { PLUMBLINE_DATA: _data, PLUMBLINE_LOG: _log, NODE_OPTIONS: _options, ...inherited } = process.env
  const [program = '', ...before] = [...within, process.execPath]
  const child = spawn(program, [...before, '--disable-warning=ExperimentalWarning', PROGRAM, ...args], {
    cwd,
    env: { ...inherited, NO_COLOR: '1', ...env },
    stdio: ['ignore', output ?? 'pipe', 'pipe'],
  })
  let stdout = ''
  let stderr = ''
  child.stdout?.setEncoding('utf8').on('data', (chunk) => {
    stdout += chunk
  })
  child.stderr?.setEncoding('utf8').on('data', (chunk) => {
    stderr += chunk
  })
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, stdout, stderr }))
  return { child, pid: child.pid as number, ended, stdout: () => stdout, stderr: () => stderr }
}

/** Standard output of a program that succeeded. @throws Error with all its output when it failed */
export async function outputOf(args: readonly string[], ended: Promise<Ended>): Promise<string> {
  const { code, signal, stdout, stderr } = await ended
  if (code !== 0) throw new Error(`plumbline ${args.join(' ')} ended with ${signal ?? code}\n${stdout}\n${stderr}`)
  return stdout
}
