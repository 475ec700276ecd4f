import { execFile } from 'node:child_process'
import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { type Blobs, BlobsAwayError } from '../../infra/blobs/blobs.ts'
import { blobFile } from '../../infra/blobs/directory.ts'
import { type Log, UnknownTopicError } from '../../infra/log/port/log.ts'
import { partitionName } from '../../infra/log/port/partition-name.ts'
import { DEAD_LETTERS_TOPIC } from '../../infra/runtime/internal/internal-topics.ts'
import { readRange } from '../../infra/runtime/internal/json-records.ts'
import { catalogue } from '../../streams/vocabulary.ts'
import { append } from '../../testing/duckdb/recorded-tower.ts'
import type { Sink } from '../sink.ts'
import { type Contents, recordAt, type Scene } from './driver.ts'

const KILLED = join(import.meta.dirname, 'killed-sink.ts')
const TOPICS = [...catalogue.map(({ type }) => type), DEAD_LETTERS_TOPIC]

/** Appends the events of groups `from` … `to` − 1. */
export async function addGroups({ log }: Pick<Scene, 'log'>, from: number, to: number): Promise<void> {
  await append(log, (story) => {
    for (let at = from; at < to; at++) {
      const group = `g${at}`
      story.requested(group, 2).sampled(group, [0, 1]).scored(group, [at, 0]).formed(group, [at, 0])
    }
  })
}

/**
 * Appends an event whose large columns are blobs, between two others.
 *
 * @returns functions that move its blobs away and back
 */
export async function appendLarge({ log, blobs, folder }: Scene, group = 'large') {
  const files: string[] = []
  const put: Promise<unknown>[] = []
  await append(log, (story) => {
    story.sampled(`before-${group}`, [0])
    for (const { bytes, ref } of story.sampledLong(group, 20_000)) {
      files.push(blobFile(blobFolder(folder), ref.sha256))
      put.push(blobs.put(bytes, ref.media_type))
    }
    story.sampled(`after-${group}`, [0])
  })
  await Promise.all(put)
  return {
    takeAway: () => Promise.all(files.map((file) => rename(file, `${file}.kept`))),
    bringBack: () => Promise.all(files.map((file) => rename(`${file}.kept`, file))),
  }
}

/** The same blobs, of which none can be read while `store.is_away`. */
export function mountable(blobs: Blobs, store: { is_away: boolean }): Blobs {
  return {
    ...blobs,
    get: async (ref) => {
      if (store.is_away) throw new BlobsAwayError('the store is not mounted')
      return await blobs.get(ref)
    },
  }
}

/** Makes the first commit that reaches a stage fail there, for each stage in turn; `failing` has those to come. */
export function failingAtEach(stages: readonly string[]) {
  const failing = [...stages]
  const observe = (stage: string) => {
    if (stage !== failing[0]) return
    failing.shift()
    throw new Error(`no room at ${stage}`)
  }
  return { failing, observe }
}

/** Opens the sink, loads everything and closes it. @returns how many records it has read */
export async function loadAll(scene: Scene): Promise<number> {
  const sink = await scene.driver.open(scene.folder, scene)
  try {
    const { records, caught_up } = await sink.loadOnce()
    expect(caught_up).toBe(true)
    expect(await sink.lag()).toBe(0n)
    return records
  } finally {
    await sink.close()
  }
}

/** The place of every record that a sink of this log stores, sorted. */
export async function recordsIn(log: Log): Promise<string[]> {
  const found: string[] = []
  for (const topic of TOPICS) {
    const ends = await log.endOffsets(topic).catch((error: unknown) => {
      if (error instanceof UnknownTopicError) return []
      throw error
    })
    for (const partition of ends.keys()) {
      for await (const { offset } of readRange(log, topic, partition, 0n))
        found.push(recordAt(topic, partition, offset))
    }
  }
  return found.sort()
}

export async function expectAllStored({ driver, folder, log }: Scene): Promise<Contents> {
  const contents = await driver.contents(folder)
  expect(contents.records.toSorted()).toEqual(await recordsIn(log))
  expect(contents.unreadable).toEqual([])
  return contents
}

/** Asserts that exactly the records below the positions are stored, or listed as unreadable. @returns the contents */
export async function expectConsistent({ driver, folder, log }: Scene): Promise<Contents> {
  const contents = await driver.contents(folder)
  const { records, unreadable, positions } = contents
  const next = new Map(positions.map((position) => [partitionName(position), position.next]))
  const below = (await recordsIn(log)).filter((place) => {
    const [partition = '', offset = ''] = place.split('@')
    return BigInt(offset) < (next.get(partition) ?? 0n)
  })
  expect([...records, ...unreadable].sort()).toEqual(below)
  return contents
}

/** Loads in a separate process, which is killed at a stage. @returns what it printed */
export function killedAt({ driver, folder, log_dir = '' }: Scene, stage: string, count: number): Promise<string> {
  const args = [KILLED, driver.name, folder, log_dir, blobFolder(folder), stage, String(count)]
  return new Promise((resolve) => {
    execFile(process.execPath, args, { timeout: 60_000 }, (_error, out, errors) => resolve(out.trim() || errors))
  })
}

export const blobFolder = (folder: string) => join(folder, 'blobs')

/** Does something while the sink runs. @throws Error when `run` ends before that */
export async function whileRunning(sinks: readonly Sink[], work: () => Promise<unknown>): Promise<void> {
  const stop = new AbortController()
  const running = sinks.map(async (sink) => {
    await sink.run(stop.signal)
    if (!stop.signal.aborted) throw new Error(`${sink.name}: run has ended unasked`)
  })
  try {
    // The sinks end only after `stop`, or with an error.
    await Promise.race([work(), ...running])
  } finally {
    stop.abort()
    await Promise.allSettled(running)
  }
  await Promise.all(running)
}

/** Waits until a condition holds. */
export const eventually = <T>(look: () => T) => expect.poll(look, { timeout: 20_000, interval: 20 })

export const caughtUp = (sink: Sink) => eventually(async () => sink.lag().catch(() => undefined)).toBe(0n)

/** @returns the error */
export async function failureOf(
  doing: Promise<unknown>,
): Promise<Error & { readonly retry?: unknown; remedy?: unknown }> {
  const failure = await doing.then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(failure).toBeInstanceOf(Error)
  return failure as Error
}
