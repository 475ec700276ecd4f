import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { programFile } from '../bundle/program-file.mjs'

/** The program as a person starts it: in a separate process, from the same file, with the Node of this one. */

/**
 * Without `--liftoff-only`, V8 compiles the physics engine a second time, optimized. That computes the same, and takes
 * more than a process of a few scenes ever gains.
 */
const NODE_FLAGS = ['--disable-warning=ExperimentalWarning', '--liftoff-only']

const PROGRAM_FILES = new Map<boolean, string>()

/** Found once in a process, because the sources stay as they are while tests run. */
function fileFor(args: readonly string[]): string {
  const is_debug = args.includes('--debug')
  const say = (why: string) => {
    throw new Error(why)
  }
  const file = PROGRAM_FILES.get(is_debug) ?? programFile(args, { say })
  PROGRAM_FILES.set(is_debug, file)
  return file
}

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
  /** A command prefix that runs it e.g. in another network namespace. */
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
  const child = spawn(program, [...before, ...NODE_FLAGS, fileFor(args), ...args], {
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
