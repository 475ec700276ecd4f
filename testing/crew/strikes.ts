import { readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import type { Crew } from './crew.ts'
import type { Said } from './heard.ts'
import { type Kill, tellKill } from './kills.ts'
import { type Place, WORKERS, type WorkerName } from './places.ts'

/** Limit for any wait on a shared machine; normally a second is enough. */
export const PATIENCE_MS = 120_000
export const PATIENCE_S = `${PATIENCE_MS / 1_000} s`

/** A process that has not reached its trap by then is killed where it is. */
const TRAP_MS = 30_000

/** A guarantee was broken; the rest of the schedule is skipped. */
export class Breach extends Error {
  override readonly name = 'Breach'
}

/** @param empty_ms how long the process stays down. @returns what happened, as text */
export async function kill(
  crew: Crew,
  fault: Exclude<Kill, { kind: 'kill tables' }>,
  empty_ms: number,
): Promise<string> {
  const { place } = fault
  const pid = await present(crew, place)
  crew.at(place).doom(empty_ms)
  if (fault.kind === 'kill') {
    crew.at(place).signal('SIGKILL')
    await gone(crew, place, pid)
    return tellKill(fault)
  }
  const { stage, commit, delay_ms } = fault
  crew.at(place).set({ stage, commit, delay_ms, signal: 'SIGKILL' })
  // Its end shows that it reached the trap: its last message may not arrive.
  const reached = await hasGone(crew, place, pid, TRAP_MS)
  if (!reached) {
    crew.at(place).signal('SIGKILL')
    await gone(crew, place, pid)
  }
  return reached ? tellKill(fault) : `kill -9 ${place}, which came to no such point in ${TRAP_MS / 1_000} s`
}

/**
 * Waits until another worker takes over a partition of a stopped process, resumes it, and waits until it has noticed.
 *
 * @param told the fault, as text. @param session_ms how long a silent worker keeps its partitions
 * @throws Breach when no worker takes over, or the process does not notice
 */
export async function replaced(
  crew: Crew,
  place: WorkerName,
  pid: number,
  { told, session_ms }: { readonly told: string; readonly session_ms: number },
): Promise<string> {
  const from = crew.heard.now
  const taken = await crew.heard.first(from, PATIENCE_MS, ({ place: by, message }) => {
    return (
      by !== place && message.says === 'restored' && crew.owned(place).has(`${message.processor}/${message.partition}`)
    )
  })
  await wait(session_ms)
  const back = crew.heard.now
  crew.at(place).signal('SIGCONT')
  if (taken === undefined) throw new Breach(`${told}: nobody took over within ${PATIENCE_S}`)
  const lost = await crew.heard.first(
    back,
    PATIENCE_MS,
    ({ pid: of, message }) => of === pid && message.says === 'lost',
  )
  if (lost === undefined) throw new Breach(`${told}: it came back and noticed no loss within ${PATIENCE_S}`)
  const { processor, partition } = taken.message as { processor: string; partition: number }
  return `${taken.place} took over ${processor} ${partition}, and it was refused when it came back`
}

/** Why a worker or the sink cannot continue, from its message; empty for other messages. */
export function textOf({ message }: Said): string {
  return message.says === 'retrying' || message.says === 'report' ? message.message : ''
}

/** Waits until a process runs in the slot. @returns its id */
export async function present(crew: Crew, place: Place): Promise<number> {
  for (let waited_ms = 0; ; waited_ms += 20) {
    const { pid } = crew.at(place)
    if (pid !== undefined) return pid
    if (waited_ms > PATIENCE_MS) throw new Breach(`the place of ${place} stayed empty for ${PATIENCE_S}`)
    await wait(20)
  }
}

/** Waits until a worker owns a partition and commits. @returns its process id */
export async function working(crew: Crew, place: WorkerName): Promise<number> {
  const pid = await present(crew, place)
  const found = await crew.heard.first(crew.heard.now, PATIENCE_MS, ({ pid: of, message }) => {
    return of === pid && message.says === 'committed' && crew.owned(place).size > 0
  })
  if (found === undefined) throw new Breach(`${place} (process ${pid}) committed nothing in ${PATIENCE_S}`)
  return pid
}

export async function gone(crew: Crew, place: Place, pid: number): Promise<void> {
  if (await hasGone(crew, place, pid, PATIENCE_MS)) return
  throw new Breach(`${place} (process ${pid}) was told to go and is still there after ${PATIENCE_S}`)
}

async function hasGone(crew: Crew, place: Place, pid: number, patience_ms: number): Promise<boolean> {
  for (let waited_ms = 0; crew.at(place).pid === pid; waited_ms += 10) {
    if (waited_ms > patience_ms) return false
    await wait(10)
  }
  return true
}

/** Waits until every worker commits. @param told what was repaired, as text. @throws Breach when one does not */
export async function commitsGoOn(crew: Crew, told: string): Promise<void> {
  const from = crew.heard.now
  for (const place of WORKERS) {
    const found = await crew.heard.first(from, PATIENCE_MS, ({ place: by, message }) => {
      return by === place && message.says === 'committed'
    })
    if (found === undefined) throw new Breach(`${told}, and ${place} committed nothing in ${PATIENCE_S}`)
  }
}

/** Whether SIGSTOP has reached a process. */
export function isStopped(pid: number): boolean {
  try {
    return /\) [Tt] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}
