import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { type Ended, outputOf, type Place, type Running, start as startProgram } from '../../testing/program.ts'

export type { Ended, Place, Running } from '../../testing/program.ts'

/** Starts the program without waiting for its end. If it still runs after the file's tests, it is killed. */
export function start(args: readonly string[], place: Place): Running {
  const running = startProgram(args, place)
  alive.add(running.child)
  running.child.once('close', () => alive.delete(running.child))
  return running
}

const alive = new Set<ChildProcess>()

/** Runs the program to its end. */
export const plumbline = (args: readonly string[], place: Place): Promise<Ended> => start(args, place).ended

/** Runs the program to its end and expects success. @returns standard output */
export const plumblineOk = (args: readonly string[], place: Place): Promise<string> =>
  outputOf(args, plumbline(args, place))

/** Rows of an SQL answer. */
export async function sql<T = Record<string, unknown>>(statement: string, place: Place): Promise<T[]> {
  return JSON.parse(await plumblineOk(['sql', statement, '--format', 'json'], place)) as T[]
}

/** Completions per fate, without fates that have none. */
export async function funnel(place: Place): Promise<Record<string, number>> {
  const rows = await sql<{ fate: string; completions: number }>('select fate, completions from funnel', place)
  return Object.fromEntries(
    rows.map(({ fate, completions }) => [fate, Number(completions)] as const).filter(([, count]) => count > 0),
  )
}

/** Waits until `look` returns other than undefined, null or false. Its last error is the cause of a timeout. */
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

/** A folder that is removed after the file's tests, once their remaining processes have been killed. */
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
