import { execFile } from 'node:child_process'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import type { Log } from '../../infra/log/port/log.ts'
import { headerOf, readRange } from '../../infra/runtime/internal/json-records.ts'
import { homesOf } from '../../schemas/wire/routing.ts'
import type { Pace } from '../pace.ts'
import { type RunSourceOptions, runSource, type SourceResult } from '../run-source.ts'
import type { Emitted, Source } from '../source.ts'
import { PARTITIONS, type Scene, STEPS } from './driver.ts'
import { Sender } from './sender.ts'

const KILLED = fileURLToPath(new URL('./killed-source.ts', import.meta.url))

export interface Appending extends Partial<RunSourceOptions> {
  /** Stops at this step; default: as soon as `STEPS` are done, or the source has ended. */
  readonly until?: number
  readonly at_a_time?: number
  readonly sender?: Sender
}

/** Opens the source and appends its steps, a few in each transaction. */
export async function append(scene: Scene, how: Appending = {}): Promise<SourceResult> {
  const { until = STEPS, at_a_time = 2, sender = new Sender(), ...rest } = how
  const source = await scene.driver.open(scene)
  sender.handIn(scene.driver, source)
  const stop = new AbortController()
  how.signal?.addEventListener('abort', () => stop.abort())
  let done = await stepsIn(scene.log, source)
  const pace: Pace = {
    async permit() {
      if (done >= until) stop.abort()
      return Math.max(1, Math.min(at_a_time, until - done))
    },
    taken(steps) {
      done += steps
    },
  }
  const { log, blobs } = scene
  return await runSource(source, { log, blobs, partitions: PARTITIONS, pace, ...rest, signal: stop.signal })
}

/** How many steps of a source are done, according to the log. */
export async function stepsIn(log: Log, { name }: Pick<Source, 'name'>): Promise<number> {
  return Math.max(0, ...(await log.committed(`source/${name}`)).map(({ next }) => Number(next)))
}

/** The first steps of a repeatable source, taken one after the other, `most` at a time. */
export async function firstSteps(scene: Scene, until: number, most = until): Promise<readonly Emitted[]> {
  const source = await scene.driver.open(scene)
  const { signal } = new AbortController()
  const all: Emitted[] = []
  for (let from = 0; from < until; ) {
    const taken = await source.take(from, { most: Math.min(most, until - from), signal })
    if (taken === undefined) throw new Error(`${source.name}: expected ${until} steps, got ${from}`)
    all.push(...taken.emitted)
    from = taken.to
  }
  return all
}

/** The `ce_id`s in each partition of the topics of a source, in order. */
export async function idsIn(log: Log, { types }: Pick<Source, 'types'>): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {}
  for (const { type } of types) {
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const ids: string[] = []
      for await (const record of readRange(log, type, partition, 0n)) ids.push(headerOf(record, 'ce_id') ?? '')
      found[`${type}/${partition}`] = ids
    }
  }
  return found
}

/** Asserts that the log holds what steps 0 … `steps` − 1 give, each event once and in its place, and nothing else. */
export async function expectSteps(scene: Scene, steps: number): Promise<void> {
  const source = await scene.driver.open(scene)
  const found = await idsIn(scene.log, source)
  expect(await stepsIn(scene.log, source)).toBe(steps)
  if (scene.driver.kind === 'repeatable') {
    const expected = Object.fromEntries(Object.keys(found).map((place) => [place, [] as string[]]))
    for (const { type, event } of await firstSteps(scene, steps)) {
      for (const partition of homesOf(type, event.key, PARTITIONS))
        expected[`${type.type}/${partition}`]?.push(event.id)
    }
    expect(found).toEqual(expected)
    return
  }
  expectOnce(found)
  // Each step of the live sources is one event.
  for (const { type, routing } of source.types) {
    const counts = Array.from({ length: PARTITIONS }, (_, partition) => found[`${type}/${partition}`]?.length ?? 0)
    if (routing === 'every_partition') expect(counts).toEqual(counts.map(() => steps))
    else expect(counts.reduce((sum, count) => sum + count, 0)).toBe(steps)
  }
}

/** Asserts that no partition holds an event twice. */
export function expectOnce(found: Record<string, readonly string[]>): void {
  for (const [place, ids] of Object.entries(found)) expect(new Set(ids).size, place).toBe(ids.length)
}

/** Appends in a separate process, which is killed at a stage. @returns what it printed */
export function killedAt({ driver, folder, log_dir = '' }: Scene, stage: string, sender: Sender): Promise<string> {
  const args = [KILLED, driver.name, folder, log_dir, stage, JSON.stringify([...sender.confirmed])]
  return new Promise((resolve) => {
    execFile(process.execPath, args, { timeout: 120_000 }, (_error, out, errors) => {
      const lines = out.trim().split('\n')
      for (const line of lines) if (line.startsWith('confirmed ')) sender.confirmed.add(line.slice('confirmed '.length))
      resolve(lines.find((line) => line.startsWith('killed')) ?? (errors || out))
    })
  })
}

/** A pace that permits as many steps as the test sets. */
export function onDemand(): Pace & { allow(steps: number): void } {
  let left = 0
  let wake = () => {}
  return {
    allow(steps) {
      left += steps
      wake()
    },
    async permit(signal) {
      while (left < 1 && !signal.aborted) {
        await new Promise<void>((resolve) => {
          wake = resolve
          signal.addEventListener('abort', () => resolve(), { once: true })
        })
      }
      return left
    },
    taken(steps) {
      left -= steps
    },
  }
}

/** A source that is slower than this to stop does not stop. A busy machine must be allowed for. */
const PATIENCE_MS = 5_000

/** @throws Error when it has not settled after a few seconds */
export async function settled<T>(work: Promise<T>, what: string): Promise<T> {
  const given_up = new AbortController()
  const late = wait(PATIENCE_MS, undefined, { signal: given_up.signal }).then(() => {
    throw new Error(`${what} has not ended after ${PATIENCE_MS} ms`)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    given_up.abort()
    late.catch(() => {})
  }
}

export const eventually = <T>(look: () => T) => expect.poll(look, { timeout: 20_000, interval: 10 })
