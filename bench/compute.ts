import { memoryBlobs } from '../infra/blobs/memory.ts'
import { ComputePool } from '../infra/compute/compute.ts'
import { execute } from '../infra/runtime/execute/execution.ts'
import { reachOf } from '../infra/runtime/state/rerun.ts'
import type { Kernel, Transform } from '../processors/processor.ts'
import { defineEvent, type Event } from '../schemas/declare/event.ts'
import { utf8 } from '../schemas/declare/logical-types.ts'
import type { OpenBench, Side } from './pairs.ts'

const WORK_MS = 1
const frameSeen = defineEvent({
  ...{ type: 'bench.frame_seen', version: 1, key: 'clip', encoding: 'json', retention: 'derived', about: '' },
  row: { clip: utf8() },
})
const spinning: Kernel<number, number> = {
  module: new URL('./compute-kernel.ts', import.meta.url).href,
  name: 'spin',
  runs_in: 'thread',
}
const computing: Transform = {
  shape: 'transform',
  name: 'compute',
  version: 1,
  about: '',
  variant: [],
  produces: 'derived',
  inputs: [frameSeen],
  outputs: [],
  max_batch: 64,
  async apply(events, { compute }) {
    await Promise.all(events.map(() => compute.run(spinning, WORK_MS)))
  },
}

/** A transform whose work runs on threads. It scales with idle cores only: run it on a quiet machine. */
export const open: OpenBench = async ({ quick }) => {
  const count = quick ? 20 : 1_000
  const pools = [1, 2].map((threads) => new ComputePool({ threads }))
  const [one, two] = pools.map((compute, at): Side => {
    const execution = execute(computing, reachOf({ blobs: memoryBlobs(), compute }))
    return {
      what: at === 0 ? 'one thread' : '2 threads',
      async run() {
        const { failures } = await execution.process(events)
        if (failures[0] !== undefined) throw failures[0].error
        return count
      },
    }
  }) as [Side, Side]
  const envelope = { version: 1, time: '2026-01-01T00:00:00.000Z', clock: 'virtual', causes: [] } as const
  const events = Array.from({ length: count }, (_, at): Event => {
    const clip = `clip ${at}`
    return { ...envelope, id: clip, source: '/bench', type: frameSeen.type, key: clip, data: { clip } as never }
  })
  return {
    measures: [
      {
        what: `a transform on the pool, 2 threads, ${WORK_MS} ms of work an event`,
        unit: 'events',
        seconds: 'wall',
        goal: 1.7,
        candidate: two,
        ceiling: one,
      },
    ],
    async close() {
      for (const pool of pools) await pool.close()
    },
  }
}
