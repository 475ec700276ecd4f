import { createHash } from 'node:crypto'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Event } from '../schemas/declare/event.ts'
import { catalogueOf } from '../schemas/declare/registry.ts'
import type { groupFormed } from '../schemas/events/rollout.ts'
import { Feed } from '../sinks/feed/feed.ts'
import type { OpenConsumer } from '../sinks/feed/open-consumer.ts'
import { DEFAULT_SUBSCRIPTION } from '../sinks/feed/subscription.ts'
import type { Topology } from '../streams/topology.ts'
import type { DataFolder } from './data-folder.ts'

export interface Trained {
  /** Optimiser steps now. */
  readonly steps: number
  /** Groups now. */
  readonly groups: number
  /** The answer that the policy gives on average, before and after. */
  readonly from: number
  readonly to: number
}

interface Checkpoint {
  readonly checkpoint: string
  readonly mean: number
}

export const TINY_CONSUMER = 'demo'
const GROUPS_PER_STEP = 8
const STEPS_PER_CHECKPOINT = 5
/** Of the answers, in units of the answer; and how far a step goes. Inferred. */
const SIGMA = 100
const LEARNING_RATE = 1_000
const BYTES = 64 * 2 ** 20

/**
 * A trainer that is small enough to run anywhere: its policy answers N(mean, σ = 100) to everything, and learns `mean` by
 * policy gradient, mean += lr · E[advantage · ∂ log N(answer) / ∂mean]. What it does with groups is what any trainer
 * does: it leases, begins, applies, and saves checkpoints that make groups durable.
 *
 * @returns what it did with the groups that there are; it does not wait for more
 */
export async function trainTiny(
  { dir, log, blobs }: DataFolder,
  { events, partitions }: Topology,
  signal: AbortSignal,
): Promise<Trained> {
  const feed = new Feed({ log, blobs, vocabulary: catalogueOf(events), partitions, report: () => {} })
  try {
    const consumer = await feed.consumer(TINY_CONSUMER, 'open')
    const filter = { ...DEFAULT_SUBSCRIPTION.filter, task: 'x_only', with_variance: true }
    await consumer.subscribe({ ...DEFAULT_SUBSCRIPTION, filter }, 'beginning')
    return await train(feed, consumer, join(dir, 'tiny-trainer.json'), signal)
  } finally {
    await feed.close()
  }
}

async function train(feed: Feed, consumer: OpenConsumer, file: string, signal: AbortSignal): Promise<Trained> {
  const saved = await savedIn(file)
  const known = consumer.state.checkpoints.find(({ checkpoint }) => checkpoint === saved?.checkpoint)
  // Weights that are gone cannot be resumed: another run begins.
  const run = known?.run ?? `r${(consumer.state.run?.epoch ?? 0) + 1}`
  const attempt = `${process.pid} ${Date.now()}`
  const resume = known?.checkpoint ?? null
  const { epoch, step: before } = await consumer.startRun({ run, attempt, world_size: 1, resume, lineage: null })
  const caller = { epoch, rank: 0 }
  const from = known === undefined ? 0 : (saved?.mean ?? 0)
  let mean = from
  let step = before
  let parent = resume
  let unsaved: number[] = []
  let groups = 0
  const save = async () => {
    if (unsaved.length === 0) return
    const checkpoint = `${run}-step-${step}-${epoch}`
    const text = JSON.stringify({ checkpoint, mean } satisfies Checkpoint)
    await writeFile(`${file}.part`, text)
    await rename(`${file}.part`, file)
    const weights_sha256 = createHash('sha256').update(text).digest('hex')
    await consumer.checkpoint({ epoch, checkpoint, parent, step, weights_sha256, groups: unsaved })
    parent = checkpoint
    unsaved = []
  }
  while (!signal.aborted) {
    const request = `${attempt} ${step}`
    const leased = await consumer.lease({ ...caller, request, groups: GROUPS_PER_STEP, bytes: BYTES }, 0, signal)
    if (leased === undefined) break
    const sequences = leased.groups.map(({ sequence }) => sequence)
    const began_ms = performance.now()
    step += 1
    const named = sequences.map((sequence) => ({ sequence, lease: leased.lease }))
    await consumer.beginStep({ ...caller, step, groups: named })
    const slope = gradient(await feed.groupsOf(leased), mean)
    mean += LEARNING_RATE * slope
    const seconds = (performance.now() - began_ms) / 1_000
    const measured = { loss: null, grad_norm: Math.abs(slope), tokens: null, seconds, metrics: { mean } }
    await consumer.applied({ ...caller, step, ...measured })
    unsaved.push(...sequences)
    groups += sequences.length
    if ((step - before) % STEPS_PER_CHECKPOINT === 0) await save()
  }
  await save()
  return { steps: step - before, groups, from, to: mean }
}

/** E[advantage · (answer − mean) / σ²] over the answers that are one number. */
function gradient(groups: readonly Event[], mean: number): number {
  const slopes = groups.flatMap((group) =>
    (group.data as unknown as Event<typeof groupFormed>['data']).flatMap(({ text, advantage }) => {
      const [found] = /-?\d+/.exec(text) ?? []
      return found === undefined ? [] : [(advantage * (Number(found) - mean)) / SIGMA ** 2]
    }),
  )
  return slopes.reduce((sum, slope) => sum + slope, 0) / Math.max(1, slopes.length)
}

async function savedIn(file: string): Promise<Checkpoint | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Checkpoint
  } catch {
    return undefined
  }
}
