import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { sleep } from '../../infra/sleep.ts'
import type { Event } from '../../schemas/declare/event.ts'
import { rolloutRequested } from '../../schemas/events/rollout.ts'
import { requested } from '../../testing/tower-events.ts'
import { wallClock } from '../clock.ts'
import { lererScenes } from '../lerer.ts'
import { pushSource } from '../push-source.ts'
import { recordedCompletions } from '../recorded-completions.ts'
import { towerScenes } from '../tower-scenes.ts'
import { type Place, type SourceDriver, STEPS } from './driver.ts'

const scenes = (count: number, { blobs }: Place) =>
  towerScenes(
    {
      ...{ dataset: 'top_block', task: 'x_only', split: 'train', variant: 'plain', purpose: 'train' },
      ...{ scenes: count, seed: 'conformance', group_size: 2, round: 0 },
    },
    blobs,
  )

const towers: SourceDriver = { name: 'tower-scenes', kind: 'repeatable', open: async (place) => scenes(STEPS, place) }

const endlessTowers: SourceDriver = {
  name: 'tower-scenes without end',
  kind: 'repeatable',
  open: async (place) => scenes(Number.POSITIVE_INFINITY, place),
}

const recorded: SourceDriver = {
  name: 'recorded-completions',
  kind: 'repeatable',
  async open({ folder }) {
    const file = join(folder, 'completions.jsonl')
    const line = (at: number) =>
      JSON.stringify({
        group_id: `g${at}`,
        completion_index: 0,
        text: '<answer>1</answer>',
        time: '2026-01-01T00:00:00Z',
      })
    if (!existsSync(file)) await writeFile(file, Array.from({ length: STEPS }, (_, at) => `${line(at)}\n`).join(''))
    return await recordedCompletions(`recorded(${file})`)
  },
}

const lerer: SourceDriver = {
  name: 'lerer',
  kind: 'repeatable',
  async open({ folder, blobs }) {
    const labels = join(folder, 'labels.csv')
    if (!existsSync(labels)) {
      const names = Array.from({ length: STEPS }, (_, at) => `${at}.png`)
      for (const [at, name] of names.entries()) {
        const background = { r: 20 * at, g: 90, b: 10 }
        await sharp({ create: { width: 8, height: 8, channels: 3, background } }).toFile(join(folder, name))
      }
      await writeFile(labels, names.map((name) => `${name},stable\n`).join(''))
    }
    return await lererScenes({ dir: folder, purpose: 'eval', group_size: 1, round: 0 }, blobs)
  },
}

const clock: SourceDriver = {
  name: 'clock',
  kind: 'live',
  async open() {
    // Two clocks of one millisecond give the same tick: one event, which counts once. Here each step is to be another.
    await sleep(2)
    return wallClock('conformance')
  },
}

const handed = (at: number, seed = 'handed in') => ({
  type: rolloutRequested,
  event: requested({ group_id: `handed-${at}`, seed }, `handed-${at}`) as unknown as Event,
})

/** A few events fill its buffer, so that back-pressure is met. */
const MAX_BYTES = 8_000

const push: SourceDriver = {
  name: 'handed in',
  kind: 'live',
  open: async () => pushSource({ name: 'handed-in', types: [rolloutRequested], max_bytes: MAX_BYTES }),
  door: {
    hand: (source, at) => source.hand(handed(at)),
    idOf: (at) => `handed-${at}`,
    handAnother: (source, at) => source.hand(handed(at, 'another')),
    max_bytes: MAX_BYTES,
    event_bytes: 4_000,
  },
}

/** Every source of the topology, under its name there, and those that are run otherwise. */
export const DRIVERS: readonly SourceDriver[] = [
  // One a line: CONTRIBUTING adds one.
  towers,
  endlessTowers,
  recorded,
  lerer,
  clock,
  push,
]
