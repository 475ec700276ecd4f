import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** The program as a person starts it: a process of its own, with nothing of this one but its Node. */

const PROGRAM = fileURLToPath(new URL('../cli/main.ts', import.meta.url))

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Place {
  /** Where it is started; relative paths on the command line start here. */
  readonly cwd: string
  readonly env?: Readonly<Record<string, string>>
  /** A command that starts it elsewhere, e.g. in another network namespace, and becomes it. */
  readonly within?: readonly string[]
  /** A file descriptor for its standard output, which then is not kept here. */
  readonly stdout?: number
}

export interface Running {
  readonly child: ChildProcess
  readonly pid: number
  readonly ended: Promise<Ended>
  stdout(): string
  stderr(): string
}

/** Starts it and lets it run on. */
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

/** Standard output of what came to a good end. @throws Error with all that it said, when it did not */
export async function outputOf(args: readonly string[], ended: Promise<Ended>): Promise<string> {
  const { code, signal, stdout, stderr } = await ended
  if (code !== 0) throw new Error(`plumbline ${args.join(' ')} ended with ${signal ?? code}\n${stdout}\n${stderr}`)
  return stdout
}
