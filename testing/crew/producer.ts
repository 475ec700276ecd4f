import type { Event } from '../../schemas/declare/event.ts'
import { completionsSampled } from '../../schemas/events/policy.ts'
import { rolloutRequested } from '../../schemas/events/rollout.ts'
import { RECORDED_SOURCES } from '../../sources/ce-source.ts'
import { runSource } from '../../sources/run-source.ts'
import { inSteps, type Source, type Steps } from '../../sources/source.ts'
import { towerScenes } from '../../sources/tower-scenes.ts'
import { sampled, sampledRow } from '../tower-events.ts'
import { GROUP_SIZE, openData, wiring } from './data.ts'
import { PACED_SCENES, pacedSeed } from './ledger.ts'
import { belongToStarter, say } from './message.ts'

/**
 * Writes a few scenes at a time, each batch as a separate source, and reports each acknowledged batch:
 * `node producer.ts DATA SEED FIRST_JOB`. One in three requests is on the wall clock.
 */

const DEADLINE_MS = 5_000
const PAUSE_MS = 400

const [data = '', seed = '', first = '0'] = process.argv.slice(2)
const stop = new AbortController()
process.on('SIGTERM', () => stop.abort())
belongToStarter()

/** Puts some of a source's requests on the wall clock, as a recorder would, with a deadline in DEADLINE_MS. */
function partlyOnTheWallClock(source: Steps): Steps {
  return {
    ...source,
    async produce(from, to, signal) {
      const now_ms = Date.now()
      return (await source.produce(from, to, signal)).map(({ type, event }, place) => {
        if (type !== rolloutRequested || place % 3 !== 0) return { type, event }
        const deadline = { clock: 'wall', time: new Date(now_ms + DEADLINE_MS).toISOString() }
        const time = new Date(now_ms).toISOString()
        return { type, event: { ...event, clock: 'wall', time, data: { ...(event.data as object), deadline } } }
      })
    },
  }
}

/** Adds to each job completions whose tokens are in a blob, which every reader needs. */
function withColumns(source: Steps, job: string): Source {
  const row = sampledRow(0, { group_id: `columns of ${job}`, token_ids: Array.from({ length: 16_500 }, (_, at) => at) })
  const event: Event = { ...sampled(`columns of ${job}`, row), source: `${RECORDED_SOURCES}drill` }
  return inSteps({
    ...source,
    types: [...source.types, completionsSampled],
    async produce(from, to, signal) {
      const said = await source.produce(from, to, signal)
      return from === 0 ? [...said, { type: completionsSampled, event }] : said
    },
  })
}

const folder = await openData(data, 'write')
const { log, blobs } = folder
const { partitions } = await wiring()
for (let job = Number(first); !stop.signal.aborted; job++) {
  const scenes = towerScenes(
    {
      dataset: 'side_block',
      task: 'x_only',
      split: 'train',
      variant: 'plain',
      purpose: 'train',
      scenes: PACED_SCENES,
      seed: pacedSeed(seed, job),
      group_size: GROUP_SIZE,
      round: 0,
    },
    blobs,
  )
  await runSource(withColumns(partlyOnTheWallClock(scenes), pacedSeed(seed, job)), { log, blobs, partitions })
  say({ says: 'acknowledged', job })
  await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
}
await folder.close()
