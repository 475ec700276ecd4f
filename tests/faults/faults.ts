import { setTimeout as wait } from 'node:timers/promises'
import type { Crew } from './crew.ts'
import type { Said } from './heard.ts'
import { type Fault, type Place, type Step, tell, WORKERS, type WorkerName } from './schedule.ts'
import { SESSION_MS } from './session.ts'
import type { SmallDisk } from './small-disk.ts'
import { isStopped, type WriterLock } from './writer-lock.ts'

/** What a machine that others use too may take for anything; when all is well it takes a second. */
const PATIENCE_MS = 120_000
/** Small commits fit into pages that were freed: where there is little to say, a full disk may stay unnoticed. */
const FULL_MS = 60_000
const PATIENCE_S = `${PATIENCE_MS / 1_000} s`

/** A trap that nobody has walked into by then is given up, and the process killed where it is. */
const TRAP_MS = 30_000

export interface Scene {
  readonly crew: Crew
  readonly disk: SmallDisk
  readonly lock: WriterLock
}

/** A promise was broken; what is left of the schedule is not played. */
export class Breach extends Error {
  override readonly name = 'Breach'
}

/** Does it, waits until the others have shown what they promise, and mends it. @returns what happened, for a person */
export async function commitFault(scene: Scene, { fault, empty_ms }: Step): Promise<string> {
  switch (fault.kind) {
    case 'kill':
      return await kill(scene, fault, empty_ms)
    case 'kill at':
      return await killAt(scene, fault, empty_ms)
    case 'stop outside a write':
      return await stopOutside(scene, fault)
    case 'stop inside a write':
      return await stopInside(scene, fault)
    case 'fill the disk':
      return await fillDisk(scene, fault, empty_ms)
    case 'clock jump':
      scene.crew.setClock(fault.by_ms)
      await wait(1_500)
      scene.crew.setClock(0)
      await wait(500)
      return tell(fault)
  }
}

type Of<K extends Fault['kind']> = Extract<Fault, { kind: K }>

async function kill({ crew }: Scene, fault: Of<'kill'>, empty_ms: number): Promise<string> {
  const pid = await present(crew, fault.place)
  crew.at(fault.place).doom(empty_ms)
  crew.at(fault.place).signal('SIGKILL')
  await gone(crew, fault.place, pid)
  return tell(fault)
}

async function killAt(scene: Scene, fault: Of<'kill at'>, empty_ms: number): Promise<string> {
  const { crew } = scene
  const { place, stage, commit, delay_ms } = fault
  const pid = await present(crew, place)
  const from = crew.heard.now
  crew.at(place).doom(empty_ms)
  crew.at(place).set({ stage, commit, delay_ms, signal: 'SIGKILL' })
  const reached = await crew.heard.first(
    from,
    TRAP_MS,
    ({ pid: of, message }) => of === pid && message.says === 'reached',
  )
  if (reached === undefined) crew.at(place).signal('SIGKILL')
  await gone(crew, place, pid)
  return reached === undefined ? `kill -9 ${place}, which came to no such point in ${TRAP_MS / 1_000} s` : tell(fault)
}

/** Its lease ends while it is away, somebody takes over, and what it wants to commit when it is back is refused. */
async function stopOutside(scene: Scene, fault: Of<'stop outside a write'>): Promise<string> {
  const { crew } = scene
  const { place } = fault
  const pid = await working(crew, place)
  await stopped(scene, place, pid, fault.at === 'appended', false)
  const from = crew.heard.now
  const taken = await crew.heard.first(from, PATIENCE_MS, ({ place: by, message }) => {
    return (
      by !== place && message.says === 'restored' && crew.owned(place).has(`${message.processor}/${message.partition}`)
    )
  })
  await wait(SESSION_MS)
  const back = crew.heard.now
  crew.at(place).signal('SIGCONT')
  if (taken === undefined) throw new Breach(`${tell(fault)}: nobody took over within ${PATIENCE_S}`)
  const lost = await crew.heard.first(
    back,
    PATIENCE_MS,
    ({ pid: of, message }) => of === pid && message.says === 'lost',
  )
  if (lost === undefined) throw new Breach(`${tell(fault)}: it came back and noticed no loss within ${PATIENCE_S}`)
  await commitsGoOn(scene, fault)
  const { processor, partition } = taken.message as { processor: string; partition: number }
  return `${tell(fault)}: ${taken.place} took over ${processor} ${partition}, and it was refused when it came back`
}

/** Reading goes on; whoever wants to write says who holds the lock, and goes on when it is free. */
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
  await commitsGoOn(scene, fault)
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
  const killed = await kill(scene, { kind: 'kill', place: fault.killed }, empty_ms)
  await wait(2_000)
  disk.free()
  crew.troubled(false)
  if (told === undefined && !went_on)
    throw new Breach(`${tell(fault)}: nobody said that it was full within ${FULL_MS / 1_000} s, and nobody committed`)
  await commitsGoOn(scene, fault)
  return `${tell(fault)}: ${told === undefined ? 'what came fitted into pages that were free' : `${told.place} said so`}; ${killed}`
}

/** Workers say what keeps them from going on, and the sink does. */
function textOf({ message }: Said): string {
  return message.says === 'retrying' || message.says === 'report' ? message.message : ''
}

/** Stops a process, inside a write transaction or outside of any, as the lock itself says. */
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

/** Waits until somebody is there. */
async function present(crew: Crew, place: Place): Promise<number> {
  for (let waited_ms = 0; ; waited_ms += 20) {
    const { pid } = crew.at(place)
    if (pid !== undefined) return pid
    if (waited_ms > PATIENCE_MS) throw new Breach(`the place of ${place} stayed empty for ${PATIENCE_S}`)
    await wait(20)
  }
}

/** Waits until a worker owns something and commits. */
async function working(crew: Crew, place: WorkerName): Promise<number> {
  const pid = await present(crew, place)
  const found = await crew.heard.first(crew.heard.now, PATIENCE_MS, ({ pid: of, message }) => {
    return of === pid && message.says === 'committed' && crew.owned(place).size > 0
  })
  if (found === undefined) throw new Breach(`${place} (process ${pid}) committed nothing in ${PATIENCE_S}`)
  return pid
}

async function gone(crew: Crew, place: Place, pid: number): Promise<void> {
  for (let waited_ms = 0; crew.at(place).pid === pid; waited_ms += 10) {
    if (waited_ms > PATIENCE_MS)
      throw new Breach(`${place} (process ${pid}) was killed and is still there after ${PATIENCE_S}`)
    await wait(10)
  }
}

async function commitsGoOn({ crew }: Scene, fault: Fault): Promise<void> {
  for (const place of WORKERS) {
    const found = await crew.heard.first(crew.heard.now, PATIENCE_MS, ({ place: by, message }) => {
      return by === place && message.says === 'committed'
    })
    if (found === undefined) throw new Breach(`${tell(fault)}: mended, and ${place} committed nothing in ${PATIENCE_S}`)
  }
}
