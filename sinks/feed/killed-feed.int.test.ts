import { expect, test } from 'vitest'
import { openLmdbLog } from '../../infra/log/lmdb/lmdb-log.ts'
import { NEVER_ABORTED } from '../../infra/runtime/execute/reach.ts'
import { FeedLog } from '../../testing/feed-log.ts'
import { killedFeed, RANKS } from '../../testing/killed-feed.ts'
import { temporaryFolder } from '../../testing/temporary-folder.ts'
import { namesOf } from './consumer-state.ts'
import { eventsOf } from './history.ts'

test.each([
  ['decided', 0],
  ['committed', RANKS],
] as const)(
  'a feed that is killed when a transaction of several calls is %s has answered none of them, and all or none are in the log',
  async (stage, leased) => {
    const dir = await temporaryFolder()
    const { signal, answered } = await killedFeed(dir, stage)
    expect(signal).toBe('SIGKILL')
    expect(answered).toEqual([])
    const log = await FeedLog.create(await openLmdbLog({ dir }))
    try {
      const numbers: number[] = []
      for await (const event of eventsOf(log.reading, 'lab')) numbers.push(namesOf(event).number)
      expect(numbers).toEqual(numbers.map((_, at) => at + 1))
      const lab = await log.feed().consumer('lab')
      expect(lab.state.counts).toMatchObject({ leased })
      // Each rank asks again, and gets the one group that is its own.
      const ranks = Array.from({ length: RANKS }, (_, rank) => rank)
      const again = await Promise.all(
        ranks.map((rank) => lab.lease({ epoch: 1, rank, request: 'one', groups: 1, bytes: 2 ** 20 }, 0, NEVER_ABORTED)),
      )
      expect(again.map((one) => one?.groups.map(({ sequence }) => sequence))).toEqual(ranks.map((rank) => [rank]))
    } finally {
      await log.close()
    }
  },
)
