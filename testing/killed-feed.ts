import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import type { FeedStage } from '../sinks/feed/shared-commits.ts'
import { FeedLog, SUBSCRIPTION } from './feed-log.ts'

/** Ranks that lease a group each, at the same moment. */
export const RANKS = 4

/** Runs the program below in a process of its own. @returns the ranks whose leases were answered before it was killed */
export async function killedFeed(
  dir: string,
  stage: FeedStage,
): Promise<{ signal: string | null; answered: number[] }> {
  const child = fork(fileURLToPath(import.meta.url), [dir, stage], { execArgv: process.execArgv })
  const answered: number[] = []
  child.on('message', (rank) => void answered.push(Number(rank)))
  const [, signal] = (await once(child, 'close')) as [number | null, string | null]
  return { signal, answered }
}

/** A feed that kills itself at a stage of the first transaction that several calls share. */
async function program(dir: string, stage: string): Promise<void> {
  const log = await FeedLog.create(await openLmdbLog({ dir }))
  await log.form(RANKS)
  const observe = (now: FeedStage, calls: number) => {
    if (now === stage && calls > 1) process.kill(process.pid, 'SIGKILL')
  }
  const lab = await log.feed({ observe }).consumer('lab', 'open')
  await lab.subscribe(SUBSCRIPTION, 'beginning')
  const { epoch } = await lab.startRun({ run: 'r1', attempt: 'a', world_size: RANKS, resume: null, lineage: null })
  const lease = (rank: number, request: string) =>
    lab.lease({ epoch, rank, request, groups: 1, bytes: 2 ** 20 }, 0, new AbortController().signal)
  // All groups have their numbers now: no lease waits for the log to be read.
  const first = await lease(0, 'first')
  await lab.release({ epoch, rank: 0 }, [{ sequence: 0, lease: first?.lease ?? 0 }])
  await Promise.all(
    Array.from({ length: RANKS }, async (_, rank) => {
      await lease(rank, 'one')
      process.send?.(rank)
    }),
  )
  process.exit(1)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await program(process.argv[2] ?? '', process.argv[3] ?? '')
