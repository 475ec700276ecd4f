import { setTimeout as wait } from 'node:timers/promises'
import { takeBlobsAway } from '../../testing/crew/blobs-away.ts'
import type { Crew } from '../../testing/crew/crew.ts'
import { LMDB_SESSION_MS } from '../../testing/crew/data.ts'
import type { WorkerName } from '../../testing/crew/places.ts'
import {
  Breach,
  commitsGoOn,
  isStopped,
  kill,
  PATIENCE_MS,
  PATIENCE_S,
  replaced,
  textOf,
  working,
} from '../../testing/crew/strikes.ts'
import { killTables } from '../../testing/crew/tables-killed.ts'
import type { SmallDisk } from '../../testing/small-disk.ts'
import { type Fault, type Step, tell } from './schedule.ts'
import type { WriterLock } from './writer-lock.ts'

/** Wait for a report of the full disk. Small commits fit into freed pages, so there may be none. */
const FULL_MS = 60_000

export interface Scene {
  readonly crew: Crew
  readonly data: string
  readonly disk: SmallDisk
  readonly lock: WriterLock
}

/** Injects the fault, checks that the other processes keep working, and repairs it. @returns what happened, as text */
export async function commitFault(scene: Scene, { fault, empty_ms }: Step): Promise<string> {
  switch (fault.kind) {
    case 'kill':
    case 'kill at':
      return await kill(scene.crew, fault, empty_ms)
    case 'kill tables':
      return await killTables(scene.crew, scene.data, fault)
    case 'stop outside a write':
      return await stopOutside(scene, fault)
    case 'stop inside a write':
      return await stopInside(scene, fault)
    case 'fill the disk':
      return await fillDisk(scene, fault, empty_ms)
    case 'blobs away':
      return await takeBlobsAway(scene.crew, scene.data, fault)
    case 'clock jump':
      scene.crew.setClock(fault.by_ms)
      await wait(1_500)
      scene.crew.setClock(0)
      await wait(500)
      return tell(fault)
  }
}

type Of<K extends Fault['kind']> = Extract<Fault, { kind: K }>

/** Its lease expires while it is stopped, another worker takes over, and its commit is rejected when it resumes. */
async function stopOutside(scene: Scene, fault: Of<'stop outside a write'>): Promise<string> {
  const { crew } = scene
  const { place } = fault
  const pid = await working(crew, place)
  await stopped(scene, place, pid, fault.at === 'appended', false)
  const how = await replaced(crew, place, pid, { told: tell(fault), session_ms: LMDB_SESSION_MS })
  await commitsGoOn(crew, `${tell(fault)}: mended`)
  return `${tell(fault)}: ${how}`
}

/** Readers continue. A waiting writer reports which process holds the lock, and continues when it is free. */
async function stopInside(scene: Scene, fault: Of<'stop inside a write'>): Promise<string> {
  const { crew } = scene
  const { place } = fault
  const pid = await working(crew, place)
  await stopped(scene, place, pid, true, true)
  crew.troubled(true)
  const from = crew.heard.now
  const message = new RegExp(`waited \\d+\\.\\d s for the write lock, which process ${pid} \\(.+, stopped\\) holds`)
  const told = await crew.heard.first(from, PATIENCE_MS, (said) => textOf(said).match(message) !== null)
  const read = await crew.heard.first(crew.heard.now, PATIENCE_MS, ({ message: { says } }) => says === 'scanned')
  crew.at(place).signal('SIGCONT')
  crew.troubled(false)
  if (told === undefined) throw new Breach(`${tell(fault)}: nobody said ${message} within ${PATIENCE_S}`)
  if (read === undefined) throw new Breach(`${tell(fault)}: the reader read nothing within ${PATIENCE_S}`)
  await commitsGoOn(crew, `${tell(fault)}: mended`)
  return `${tell(fault)}: ${told.place} said “${textOf(told).match(message)?.[0]}”`
}

async function fillDisk(scene: Scene, fault: Of<'fill the disk'>, empty_ms: number): Promise<string> {
  const { crew, disk } = scene
  if (disk.refused !== undefined) return `not done: ${tell(fault)} (no small file system: ${disk.refused})`
  crew.troubled(true)
  const from = crew.heard.now
  disk.fill(fault.left_bytes)
  const told = await crew.heard.first(from, FULL_MS, (said) =>
    /expected room on the disk, found none/.test(textOf(said)),
  )
  const went_on =
    told !== undefined ||
    (await crew.heard.first(from, 0, ({ message: { says } }) => says === 'committed')) !== undefined
  const killed = await kill(crew, { kind: 'kill', place: fault.killed }, empty_ms)
  await wait(2_000)
  disk.free()
  crew.troubled(false)
  if (told === undefined && !went_on)
    throw new Breach(`${tell(fault)}: nobody said that it was full within ${FULL_MS / 1_000} s, and nobody committed`)
  await commitsGoOn(crew, `${tell(fault)}: mended`)
  return `${tell(fault)}: ${told === undefined ? 'what came fitted into pages that were free' : `${told.place} said so`}; ${killed}`
}

/** Stops a process inside or outside a write transaction, as the lock itself shows. */
async function stopped(
  { crew, lock }: Scene,
  place: WorkerName,
  pid: number,
  in_commit: boolean,
  inside: boolean,
): Promise<void> {
  const slot = crew.at(place)
  const deadline_ms = performance.now() + PATIENCE_MS
  for (let attempt = 0; performance.now() < deadline_ms; attempt++) {
    if (in_commit) {
      const trap = { commit: 1, delay_ms: attempt % 4, signal: 'SIGSTOP' } as const
      slot.set({ ...trap, stage: inside ? 'committing' : 'appended' })
      while (!isStopped(pid) && performance.now() < deadline_ms) await wait(2)
    } else {
      slot.signal('SIGSTOP')
      while (!isStopped(pid) && performance.now() < deadline_ms) await wait(1)
    }
    await wait(5)
    if ((lock.holder() === pid) === inside) return
    slot.signal('SIGCONT')
    await wait(20)
  }
  slot.signal('SIGCONT')
  throw new Breach(
    `${place} could not be stopped ${inside ? 'inside' : 'outside'} a write transaction in ${PATIENCE_S}`,
  )
}
