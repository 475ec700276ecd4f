/**
 * Brings in a few scenes at a time, each few a source of its own, and says which have been acknowledged:
 * `node producer.ts DATA SEED FIRST_JOB`. Of every three requests one is on the wall clock.
 */

import { rolloutRequested } from '../../schemas/rollout.ts'
import { runSource, type Source } from '../../sources/source.ts'
import { towerScenes } from '../../sources/tower-scenes.ts'
import { GROUP_SIZE, openData, wiring } from './data.ts'
import { PACED_SCENES, pacedSeed } from './ledger.ts'
import { belongToStarter, say } from './message.ts'

const DEADLINE_MS = 5_000
const PAUSE_MS = 400

const [data = '', seed = '', first = '0'] = process.argv.slice(2)
const stop = new AbortController()
process.on('SIGTERM', () => stop.abort())
belongToStarter()

/** A generator's events, some of them as a recorder would say them: on the wall clock, and not for long. */
function partlyOnTheWallClock(source: Source): Source {
  return {
    ...source,
    async produce(from, to) {
      const now_ms = Date.now()
      return (await source.produce(from, to)).map(({ type, event }, place) => {
        if (type !== rolloutRequested || place % 3 !== 0) return { type, event }
        const deadline = { clock: 'wall', time: new Date(now_ms + DEADLINE_MS).toISOString() }
        const time = new Date(now_ms).toISOString()
        return { type, event: { ...event, clock: 'wall', time, data: { ...(event.data as object), deadline } } }
      })
    },
  }
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
  await runSource(partlyOnTheWallClock(scenes), { log, blobs, partitions })
  say({ says: 'acknowledged', job })
  await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
}
await folder.close()
