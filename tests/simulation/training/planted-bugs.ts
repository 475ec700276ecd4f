import { gunzipSync, gzipSync } from 'node:zlib'
import type { Blobs } from '../../../infra/blobs/blobs.ts'
import type { MemoryBroker } from '../../../infra/log/memory/broker.ts'
import { memoryLog } from '../../../infra/log/memory/memory-log.ts'
import type { LogRecord, Producer } from '../../../infra/log/port/log.ts'
import type { Event, EventType } from '../../../schemas/declare/event.ts'
import { leaseEnded, rolledBack } from '../../../schemas/events/training.ts'
import { decodeEvent, encodeEvent } from '../../../schemas/wire/codec.ts'
import type { StoredState } from '../../../sinks/feed/stored-state.ts'
import { type Conduct, commitWhole, RIGHT, type Written } from '../simulated-log.ts'
import { type TrainingPlant, VOCABULARY } from './world.ts'

const asConduct = (changes: Partial<Conduct>) => ({ conduct: () => ({ ...RIGHT, ...changes }) })

/** Bugs that a feed or a trainer could have; the schedules must find each of them. */
export const PLANTED_TRAINING_BUGS: Readonly<Record<string, TrainingPlant>> = {
  'answers before their commit': asConduct({
    async commit(producer, written, pause) {
      const later = async () => {
        await pause('the commit, after the answer')
        await commitWhole(producer, written)
      }
      later().catch(() => {})
    },
  }),
  'feeds that do not fence each other': {
    conduct(broker: MemoryBroker) {
      let commits = 0
      return {
        ...RIGHT,
        async commit(_producer, written) {
          const own = await memoryLog({ broker }).producer({ transactional_id: `unfenced ${commits++}` })
          await commitWhole(own, written)
        },
      }
    },
  },
  'a refusal that is not confirmed': asConduct({
    async commit(producer, written) {
      if (written.appends.length > 0) await commitWhole(producer, written)
    },
  }),
  'the number of the last event committed before the events': asConduct({
    async commit(producer, { appends, positions, standalone = [] }, pause) {
      await commitWhole(producer, { appends: [], positions, standalone })
      if (appends.length === 0) return
      await pause('between the number and the events')
      await commitWhole(producer, { appends, positions: [] })
    },
  }),
  'the events of a call in two transactions': asConduct({
    async commit(producer, { appends, positions, standalone = [] }, pause) {
      const half = Math.ceil(appends.length / 2)
      if (half < appends.length) {
        await commitWhole(producer, { appends: appends.slice(0, half), positions: [] })
        await pause('between two transactions of a call')
        await commitWhole(producer, { appends: appends.slice(half), positions, standalone })
      } else await commitWhole(producer, { appends, positions, standalone })
    },
  }),
  'a resume that rolls back one group alone': asConduct(withRows(rolledBack, (rows) => rows.slice(0, 1))),
  'a start that ends one lease alone': asConduct(
    withRows(leaseEnded, (rows) => (rows[0]?.reason === 'fenced' ? rows.slice(0, 1) : rows)),
  ),
  'a snapshot whose cursor is ahead of its groups': asConduct({
    blobs: (store) =>
      withSnapshots(store, (stored) => ({
        ...stored,
        drawn: stored.drawn.map(([partition, offset]) => [partition, offset + 2] as const),
      })),
  }),
  'a snapshot without the groups that wait': asConduct({
    blobs: (store) =>
      withSnapshots(store, (stored) => ({ ...stored, open: stored.open.filter(({ state }) => state !== 'waiting') })),
  }),
  'a trainer that resumes with the weights of another checkpoint': { trainer: 'other weights' },
}

/** The rows of an event changed on their way into the log. */
function withRows<T extends EventType>(type: T, change: (rows: Event<T>['data']) => unknown): Partial<Conduct> {
  return {
    async commit(producer: Producer, written: Written) {
      const appends = written.appends.map((append) => {
        if (append.topic !== type.type) return append
        const record = { ...append.record, topic: append.topic, partition: append.partition, offset: 0n } as LogRecord
        const event = decodeEvent(record, VOCABULARY) as Event<T>
        const { key, headers, value } = encodeEvent(type, { ...event, data: change(event.data) } as unknown as Event)
        return { ...append, record: { key, headers, value } }
      })
      await commitWhole(producer, { ...written, appends })
    },
  }
}

function withSnapshots(store: Blobs, change: (stored: StoredState) => StoredState): Blobs {
  return {
    ...store,
    put: async (bytes, media_type) => {
      const stored = JSON.parse(gunzipSync(bytes).toString('utf8')) as StoredState
      return await store.put(gzipSync(JSON.stringify(change(stored))), media_type)
    },
  }
}
