import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Blobs } from '../infra/blobs/blobs.ts'
import { httpBlobs } from '../infra/blobs/http.ts'
import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import { topicsOf } from '../infra/runtime/state/topics.ts'
import { defineEvent, type Event } from '../schemas/declare/event.ts'
import { tensor, utf8 } from '../schemas/declare/logical-types.ts'
import { runSource } from '../sources/run-source.ts'
import { inSteps, type Source } from '../sources/source.ts'
import { benchFolder } from './folder.ts'
import type { OpenBench } from './pairs.ts'
import { PARTITIONS } from './tower-log.ts'

const DELAY_MS = 20
const TOKEN = 'bench'
const SERVER = new URL('./blobs-process.ts', import.meta.url).pathname
/** A little more than the codec leaves in an event. */
const FLOATS = 64 * 256 + 64

const frameRecorded = defineEvent({
  type: 'bench.frame_recorded',
  version: 1,
  key: 'frame_id',
  encoding: 'arrow',
  about: 'A frame as a tensor of 64 KiB, which the codec stores as a blob.',
  retention: 'recorded',
  row: { frame_id: utf8(), pixels: tensor('float32', [FLOATS]) },
})

/** One commit with many blobs over a network with a delay, compared with putting them one at a time. */
export const open: OpenBench = async ({ quick }) => {
  const count = quick ? 20 : 2_000
  const folder = await benchFolder()
  const log = await openLmdbLog({ dir: folder.fresh('log') })
  await log.createTopics(topicsOf([frameRecorded], [], PARTITIONS))
  const server = spawn(process.execPath, [SERVER, folder.fresh('blobs'), TOKEN, String(DELAY_MS)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const [url] = (await once(createInterface({ input: server.stdout }), 'line')) as [string]
  const blobs = httpBlobs({ url, token: TOKEN })
  let turn = 0
  const commitWith = async (store: Blobs) => {
    await runSource(framesOf(`turn ${turn++}`, count), { log, blobs: store, partitions: PARTITIONS })
    return count
  }
  return {
    measures: [
      {
        what: `blobs, ${count.toLocaleString('en')} of 64 KiB through a commit, HTTP driver with ${DELAY_MS} ms delay`,
        unit: 'blobs',
        seconds: 'wall',
        goal: 8,
        most_pairs: 3,
        candidate: { what: 'as a source puts them', run: () => commitWith(blobs) },
        ceiling: { what: 'one at a time', run: () => commitWith(oneAtATime(blobs)) },
      },
    ],
    async close() {
      server.stdin.end()
      await once(server, 'exit')
      await log.close()
      await folder.remove()
    },
  }
}

/** All frames in one commit, each with other pixels. */
function framesOf(name: string, steps: number): Source {
  return inSteps({
    name,
    steps,
    types: [frameRecorded],
    stepsAt: () => steps,
    produce: async () =>
      Array.from({ length: steps }, (_, at) => {
        const frame_id = `${name}/${at}`
        const pixels = new Float32Array(FLOATS).fill(turnOf(name), 0, 1).fill(at, 1)
        const event: Event = {
          id: frame_id,
          source: 'plumbline:bench',
          type: frameRecorded.type,
          version: frameRecorded.version,
          time: '2026-01-01T00:00:00.000Z',
          clock: 'virtual',
          key: frame_id,
          causes: [],
          data: [{ frame_id, pixels }],
        }
        return { type: frameRecorded, event }
      }),
  })
}

const turnOf = (name: string) => Number(name.split(' ')[1])

function oneAtATime(blobs: Blobs): Blobs {
  let last: Promise<unknown> = Promise.resolve()
  return {
    ...blobs,
    put(bytes, media_type, call) {
      const put = last.then(() => blobs.put(bytes, media_type, call))
      last = put.catch(() => undefined)
      return put
    },
  }
}
