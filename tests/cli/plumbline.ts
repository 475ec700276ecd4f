import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll } from 'vitest'

/** The program as a person starts it: a process of its own, with nothing of this one but its Node. */

const PROGRAM = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))

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

/** Starts it and lets it run on. Whatever is left of it when the file's tests are over is killed. */
export function start(args: readonly string[], { cwd, env = {}, within = [], stdout: output }: Place): Running {
  const { PLUMBLINE_DATA: _data, PLUMBLINE_LOG: _log, NODE_OPTIONS: _options, ...inherited } = process.env
  const [program = '', ...before] = [...within, process.execPath]
  const child = spawn(program, [...before, '--disable-warning=ExperimentalWarning', PROGRAM, ...args], {
    cwd,
    env: { ...inherited, NO_COLOR: '1', ...env },
    stdio: ['ignore', output ?? 'pipe', 'pipe'],
  })
  alive.add(child)
  let stdout = ''
  let stderr = ''
  child.stdout?.setEncoding('utf8').on('data', (chunk) => {
    stdout += chunk
  })
  child.stderr?.setEncoding('utf8').on('data', (chunk) => {
    stderr += chunk
  })
  const ended = once(child, 'close').then(([code, signal]) => {
    alive.delete(child)
    return { code, signal, stdout, stderr }
  })
  return { child, pid: child.pid as number, ended, stdout: () => stdout, stderr: () => stderr }
}

const alive = new Set<ChildProcess>()

/** Runs it to its end. */
export const plumbline = (args: readonly string[], place: Place): Promise<Ended> => start(args, place).ended

/** Runs it to its end, which must be a good one. @returns standard output */
export async function plumblineOk(args: readonly string[], place: Place): Promise<string> {
  const { code, signal, stdout, stderr } = await plumbline(args, place)
  if (code !== 0) throw new Error(`plumbline ${args.join(' ')} ended with ${signal ?? code}\n${stdout}\n${stderr}`)
  return stdout
}

/** Rows of an SQL answer. */
export async function sql<T = Record<string, unknown>>(statement: string, place: Place): Promise<T[]> {
  return JSON.parse(await plumblineOk(['sql', statement, '--format', 'json'], place)) as T[]
}

/** Completions per fate, those that are none left out. */
export async function funnel(place: Place): Promise<Record<string, number>> {
  const rows = await sql<{ fate: string; completions: number }>('select fate, completions from funnel', place)
  return Object.fromEntries(
    rows.map(({ fate, completions }) => [fate, Number(completions)] as const).filter(([, count]) => count > 0),
  )
}

/** Waits until `look` gives something. What it throws meanwhile is shown when time is up. */
export async function eventually<T>(look: () => T | Promise<T>, patience_ms = 25_000): Promise<NonNullable<T>> {
  const deadline = performance.now() + patience_ms
  for (let trouble: unknown; ; ) {
    try {
      const found = await look()
      if (found !== undefined && found !== null && found !== false) return found as NonNullable<T>
    } catch (error) {
      trouble = error
    }
    if (performance.now() > deadline) throw new Error(`not within ${patience_ms / 1000} s`, { cause: trouble })
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** A folder that is removed when all tests of the file have ended, after the processes that still used it. */
export async function sharedFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'plumbline-cli-'))
  folders.push(folder)
  return folder
}

const folders: string[] = []

afterAll(async () => {
  for (const child of alive) {
    const ended = once(child, 'close')
    child.kill('SIGKILL')
    await ended
  }
  for (const folder of folders) await rm(folder, { recursive: true, force: true })
})
