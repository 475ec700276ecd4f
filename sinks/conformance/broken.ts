import { readdirSync, readFileSync, rmSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { BlobMissingError, type Blobs } from '../../infra/blobs/blobs.ts'
import { delegate } from '../../infra/log/conformance/altered-log.ts'
import type { Position } from '../../infra/log/port/log.ts'
import { driver as jsonl } from '../jsonl/conformance-driver.ts'
import { readStored, type Stored, writeStored } from '../jsonl/positions-file.ts'
import type { Sink } from '../sink.ts'
import { recordAt, type SinkDriver } from './driver.ts'

/** A sink that breaks a promise, to show that the suite notices. */
export interface BrokenSink {
  readonly name: string
  readonly driver: SinkDriver
  /** The case that must fail. */
  readonly caught_by: string
}

const dirOf = (folder: string) => join(folder, 'events')

const opening = (change: (folder: string) => unknown): SinkDriver => ({
  ...jsonl,
  async open(folder, how) {
    await change(folder)
    return await jsonl.open(folder, how)
  },
})

const changing = (change: (sink: Sink) => Partial<Sink>): SinkDriver => ({
  ...jsonl,
  async open(folder, how) {
    const sink = await jsonl.open(folder, how)
    return delegate(sink, change(sink))
  },
})

const rewriting = (change: (stored: Stored) => Partial<Stored>): SinkDriver =>
  opening(async (folder) => {
    const stored = await readStored(dirOf(folder)).catch(() => undefined)
    if (stored !== undefined) await writeStored(dirOf(folder), { ...stored, ...change(stored) })
  })

const withoutSeen = ({ topic, partition, next }: Position): Position => ({ topic, partition, next })

/** The files as they are on disk, with lines that were not committed. */
const withTails: SinkDriver = {
  ...jsonl,
  async contents(folder) {
    const stored = await readStored(dirOf(folder))
    const files = readdirSync(dirOf(folder)).filter((name) => name.endsWith('.jsonl'))
    const lengths = new Map(files.map((name) => [name, 2 ** 30]))
    if (stored !== undefined) await writeStored(dirOf(folder), { ...stored, lengths })
    return await jsonl.contents(folder)
  },
}

const missing = new Set<string>()

/** Once a blob was missing, it stays missing. */
const neverAgain: SinkDriver = {
  ...jsonl,
  open: (folder, how) => {
    const get: Blobs['get'] = async (ref) => {
      if (missing.has(ref.sha256)) throw new BlobMissingError('it was missing before')
      return await how.blobs.get(ref).catch((error: unknown) => {
        missing.add(ref.sha256)
        throw error
      })
    }
    return jsonl.open(folder, { ...how, blobs: { ...how.blobs, get } })
  },
}

export const BROKEN_SINKS: readonly BrokenSink[] = [
  {
    name: 'forgets where it was',
    driver: rewriting(() => ({ positions: [] })),
    caught_by: 'a reopened sink resumes where it was, and stores nothing twice',
  },
  {
    name: 'loses a line that it has committed',
    driver: {
      ...jsonl,
      async contents(folder) {
        const { records, ...more } = await jsonl.contents(folder)
        return { ...more, records: records.slice(1) }
      },
    },
    caught_by: 'every event and dead letter is stored once, and in order within a partition',
  },
  {
    name: 'shows what was not committed',
    driver: withTails,
    caught_by: 'killed at any stage of a commit, records and positions agree, and the next process completes them',
  },
  {
    name: 'moves its positions without the lines',
    driver: {
      ...jsonl,
      open: (folder, how) =>
        jsonl.open(folder, {
          ...how,
          observe: (stage) => {
            if (stage === 'appended') truncateSync(join(dirOf(folder), 'rollout.requested.jsonl'), 0)
            return how.observe?.(stage)
          },
        }),
    },
    caught_by: 'a commit that fails at any stage is retried, and stores nothing twice',
  },
  {
    name: 'continues in any topic of the name',
    driver: rewriting(({ positions }) => ({ positions: positions.map(withoutSeen) })),
    caught_by: 'a topic that was deleted and recreated is refused, and nothing of it is stored',
  },
  {
    name: 'continues in any log',
    driver: rewriting(({ positions }) => ({ positions: positions.map(withoutSeen) })),
    caught_by: 'another log is refused, and nothing of it is stored',
  },
  {
    name: 'has no lag',
    driver: changing(() => ({ lag: async () => 0n })),
    caught_by: 'the lag counts what is not stored yet, and is 0 after loading',
  },
  {
    name: 'is silent about records that it cannot read',
    driver: changing(({ health }) => ({ health: { ...health, unreadable: {} } })),
    caught_by: 'a record that is not an event is skipped, counted and named; the others are stored',
  },
  {
    name: 'lists nothing that it cannot read',
    driver: {
      ...jsonl,
      contents: async (folder) => ({ ...(await jsonl.contents(folder)), unreadable: [] }),
    },
    caught_by: 'a record that is not an event is skipped, counted and named; the others are stored',
  },
  {
    name: 'reads nothing again once it was unreadable',
    driver: neverAgain,
    caught_by: 'a missing blob makes its record unreadable, not the sink; once the blob is back, it is stored once',
  },
  {
    name: 'keeps on the list what it has stored since',
    driver: {
      ...jsonl,
      async contents(folder) {
        const lines = readFileSync(join(dirOf(folder), 'unreadable.jsonl'), 'utf8')
          .split('\n')
          .slice(0, -1)
        const unreadable = lines.map((line) => JSON.parse(line) as { topic: string; partition: number; offset: number })
        const places = unreadable.map((one) => recordAt(one.topic, one.partition, one.offset))
        return { ...(await jsonl.contents(folder)), unreadable: [...new Set(places)] }
      },
    },
    caught_by: 'while the blob store is unavailable, unreadable records stay listed, and new ones are stored',
  },
  {
    name: 'ends when a dependency fails',
    driver: changing((sink) => ({
      run: async (signal) => {
        await sink.loadOnce(signal)
      },
    })),
    caught_by: 'an unavailable log or blob store is reported once and retried, and nothing is lost',
  },
  {
    name: 'opens a place that another sink has open',
    driver: opening((folder) => rmSync(join(dirOf(folder), '.lock'), { force: true })),
    caught_by: 'a place has one writer: a second one is refused, and can open it once the first has closed it',
  },
]
