import type { Blobs } from '../../infra/blobs/blobs.ts'
import type { Log } from '../../infra/log/port/log.ts'
import { bare, withoutBatches } from '../planted.ts'
import { changedLog } from './changed-log.ts'
import { withEarlyPositions } from './early-positions.ts'
import { withLostBlobs } from './lost-blobs.ts'

interface Bug {
  /** What is wrong, for the usage. */
  readonly about: string
  readonly log?: (log: Log) => Log
  readonly blobs?: (blobs: Blobs) => Blobs
}

/** Bugs that the tests must catch: what a worker process has in place of its log and its blobs. */
const BUGS = {
  'early-positions': { about: 'positions are committed before the outputs', log: withEarlyPositions },
  'lost-blobs': { about: 'an error of the blob store is taken for a fault of the record', blobs: withLostBlobs },
  'lost-batches': {
    about: 'batch boundaries are not journalled',
    log: (log) => changedLog(log, { record: withoutBatches }),
  },
  'bare-positions': {
    about: 'positions do not say which topic they belong to',
    log: (log) => changedLog(log, { position: bare }),
  },
  /** Of the process that owns the tables, see `tables-process.ts`. */
  'early-table-positions': { about: "the tables' positions are committed before their rows" },
} as const satisfies Readonly<Record<string, Bug>>

export type Planted = keyof typeof BUGS

const isPlanted = (name: string): name is Planted => Object.hasOwn(BUGS, name)

/** Parses `--plant`: one bug, or some with commas between them. */
export function plantedOf(names: string | undefined): readonly Planted[] {
  return (names ?? '')
    .split(',')
    .filter((name) => name !== '')
    .map((name) => {
      if (isPlanted(name)) return name
      const list = Object.entries(BUGS).map(([each, { about }]) => `${each} (${about})`)
      throw new Error(`--plant ${name}: expected one or some of ${list.join(', ')}`)
    })
}

/** The log and the blobs with these bugs. */
export function withPlanted<T extends { readonly log: Log; readonly blobs: Blobs }>(
  parts: T,
  planted: readonly Planted[],
): T {
  let { log, blobs } = parts
  for (const name of planted) {
    const bug: Bug = BUGS[name]
    log = bug.log?.(log) ?? log
    blobs = bug.blobs?.(blobs) ?? blobs
  }
  return { ...parts, log, blobs }
}
