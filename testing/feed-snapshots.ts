import { setTimeout as pause } from 'node:timers/promises'
import { expect } from 'vitest'
import type { Log } from '../infra/log/port/log.ts'
import { NEVER_ABORTED } from '../infra/runtime/execute/reach.ts'
import { FEED_SNAPSHOTS_TOPIC } from '../infra/runtime/internal/internal-topics.ts'
import type { OpenConsumer } from '../sinks/feed/open-consumer.ts'
import { type Restored, restored } from '../sinks/feed/restore.ts'
import { lastSnapshot } from '../sinks/feed/snapshots.ts'
import { changed, type FeedLog, NO_METRICS, SUBSCRIPTION } from './feed-log.ts'

/** Opens the consumer with a snapshot for every ten events, and takes so many steps with a checkpoint for every third. */
export async function trained(log: FeedLog, steps: number, name = 'lab'): Promise<OpenConsumer> {
  const lab = await log.feed({ snapshot_events: 10 }).consumer(name, 'open')
  if (lab.state.subscription === undefined) {
    await lab.subscribe({ ...SUBSCRIPTION, keep_checkpoints: 2 }, 'beginning')
    // The next one is due so many events after it, whenever it is taken.
    await snapshotOf(log, 1, name)
  }
  const resume = lab.state.checkpoints.at(-1)?.checkpoint ?? null
  const run = { run: 'r1', attempt: `attempt ${lab.state.number}`, world_size: 1, resume, lineage: null }
  const { epoch, step: before } = await lab.startRun(run)
  let parent = resume
  let since: number[] = []
  for (let step = before + 1; step <= before + steps; step++) {
    const wanted = { epoch, rank: 0, request: `${epoch} ${step}`, groups: 2, bytes: 2 ** 20 }
    const leased = await lab.lease(wanted, 0, NEVER_ABORTED)
    if (leased?.groups.length !== 2) throw new Error(`step ${step}: expected 2 groups, got ${leased?.groups.length}`)
    const groups = leased.groups.map(({ sequence }) => ({ sequence, lease: leased.lease }))
    await lab.beginStep({ epoch, rank: 0, step, groups })
    await lab.applied({ epoch, rank: 0, step, ...NO_METRICS })
    since.push(...groups.map(({ sequence }) => sequence))
    if (step % 3 !== 0) continue
    const checkpoint = `checkpoint ${epoch} ${step}`
    await lab.checkpoint({ epoch, checkpoint, parent, step, weights_sha256: 'w', groups: since })
    parent = checkpoint
    since = []
  }
  return lab
}

/** Resolves when a snapshot of the consumer is committed that has so many events. */
export async function snapshotOf(log: FeedLog, least: number, name = 'lab'): Promise<number> {
  for (;;) {
    const number = (await lastSnapshot(log.reading, name, () => {}))?.stored.number ?? 0
    if (number >= least) return number
    await pause(10)
  }
}

/** The log as if no snapshot had been taken. */
export const withoutSnapshots = (log: Log): Log =>
  changed(log, { topics: async () => (await log.topics()).filter(({ name }) => name !== FEED_SNAPSHOTS_TOPIC) })

/** Restores a consumer as a feed does, and counts the records of training events that are read for it. */
export async function reopened(
  log: FeedLog,
  changes: (log: Log) => Log = (same) => same,
  name = 'lab',
): Promise<Restored & { readonly read: number; readonly reported: readonly string[] }> {
  let read = 0
  const counting = changed(log.log, {
    read: async (request) => {
      const found = await log.log.read(request)
      if (request.topic.startsWith('training.')) read += found.records.length
      return found
    },
  })
  const reported: string[] = []
  const report = (message: string) => void reported.push(message)
  const last = Math.max(0, ...(await log.log.committed(`feed/${name}`)).map(({ next }) => Number(next)))
  const found = await restored({ ...log.reading, log: changes(counting), report, visible_ms: 2_000 }, name, last)
  return { ...found, read, reported }
}

/** A log's promise about snapshots, whatever the log. */
export async function expectSnapshots(log: FeedLog): Promise<void> {
  await log.form(60)
  const lab = await trained(log, 9)
  const number = await snapshotOf(log, 20)
  const from_history = await reopened(log, withoutSnapshots)
  const from_snapshot = await reopened(log)
  expect(from_history.snapshot).toBeUndefined()
  expect(from_snapshot.snapshot?.stored.number).toBe(number)
  expect(from_snapshot.state.stored()).toEqual(from_history.state.stored())
  expect(from_snapshot.state.stored()).toEqual(lab.state.stored())
  expect(from_snapshot.read).toBeLessThan(from_history.read)
  // It goes on from there, in a feed that fences the one before.
  const again = await trained(log, 6)
  expect(again.state.counts).toMatchObject({ durable: 30, dropped: 0, leased: 0 })
  expect((await reopened(log)).state.stored()).toEqual((await reopened(log, withoutSnapshots)).state.stored())
}
