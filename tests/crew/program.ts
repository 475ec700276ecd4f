import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileOf } from './slot.ts'

/** The program as a person starts it, outside of a test runner. */

const MAIN = fileOf('../../cli/main.ts')

/** Where it works. */
export interface At {
  readonly data: string
  /** Of a log outside of the folder. */
  readonly log: string | undefined
}

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs it to its end. */
export async function plumbline({ data, log }: At, args: readonly string[]): Promise<Ended> {
  const flags = ['--disable-warning=ExperimentalWarning', MAIN, '--data', data, ...(log ? ['--log', log] : [])]
  const child = spawn(process.execPath, [...flags, ...args], {
    env: { ...process.env, NO_COLOR: '1', NODE_OPTIONS: '' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    stdout += chunk
  })
  child.stderr.setEncoding('utf8').on('data', (chunk) => {
    stderr += chunk
  })
  const [code] = await once(child, 'close')
  return { code, stdout, stderr }
}

/** Runs it to its end, which must be a good one. @returns standard output */
export async function plumblineOk(at: At, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await plumbline(at, args)
  if (code !== 0) throw new Error(`plumbline ${args.join(' ')} ended with ${code}\n${stdout}\n${stderr}`)
  return stdout
}

/** Rows of an SQL answer. */
export async function sql<T>(at: At, statement: string): Promise<T[]> {
  return JSON.parse(await plumblineOk(at, ['sql', statement, '--format', 'json'])) as T[]
}
