import {
  type Claim,
  type Log,
  type LogRecord,
  type Member,
  type Polled,
  type Position,
  TopicReplacedError,
  type Transaction,
} from '../port/log.ts'
import { changed, delegate, withMembers, withPolls, withTransactions } from './altered-log.ts'

/** A log that breaks one promise, and the case that must notice. */
export interface BrokenLog {
  readonly name: string
  readonly caught_by: string
  readonly wrap: (log: Log) => Log
}

/** By group, across all handles. */
const LATEST_CLAIMS = new Map<string, Claim>()

export const BROKEN_LOGS: readonly BrokenLog[] = [
  {
    name: 'a later producer does not fence the earlier one',
    caught_by: 'a later producer of the same id fences the earlier one, whose commit changes nothing',
    wrap: (log) => {
      let producers = 0
      return changed(log, {
        producer: async ({ transactional_id }) => {
          producers += 1
          return await log.producer({ transactional_id: `${transactional_id}/${process.hrtime.bigint()}/${producers}` })
        },
      })
    },
  },
  {
    name: 'an open transaction is visible',
    caught_by: 'an open transaction is invisible, to reads, to ends and to members',
    wrap: (log) =>
      withTransactions(log, (transaction, side) => ({
        append: (topic, partition, record) =>
          void side().then(async (at_once) => {
            at_once.append(topic, partition, record)
            await at_once.commit()
          }),
        commit: async () => {
          await new Promise((resolve) => setImmediate(resolve))
          await transaction.commit()
        },
      })),
  },
  {
    name: 'an aborted transaction commits',
    caught_by: 'an aborted transaction is never visible, nor are its positions',
    wrap: (log) => withTransactions(log, (transaction) => ({ abort: () => transaction.commit() })),
  },
  {
    name: 'a fenced transaction has already written its appends',
    caught_by: 'an owner that lost a partition cannot commit it, and its transaction changes nothing',
    wrap: (log) =>
      withTransactions(log, (transaction, side) => {
        const appends: Parameters<Transaction['append']>[] = []
        return {
          append: (...append) => void appends.push(append),
          commit: async () => {
            const first = await side()
            for (const append of appends) first.append(...append)
            await first.commit()
            await transaction.commit()
          },
        }
      }),
  },
  {
    name: 'the last append of a transaction is lost',
    caught_by: 'records of a partition come back in the order in which they were appended',
    wrap: (log) =>
      withTransactions(log, (transaction) => {
        let held: Parameters<Transaction['append']> | undefined
        return {
          append: (...append) => {
            if (held !== undefined) transaction.append(...held)
            held = append
          },
        }
      }),
  },
  {
    name: 'two appends change places',
    caught_by: 'records of a partition come back in the order in which they were appended',
    wrap: (log) =>
      withTransactions(log, (transaction) => {
        const appends: Parameters<Transaction['append']>[] = []
        return {
          append: (...append) => void appends.push(append),
          commit: async () => {
            for (const append of appends.reverse()) transaction.append(...append)
            await transaction.commit()
          },
        }
      }),
  },
  {
    name: 'a committed position is lost',
    caught_by: 'a group resumes at its committed position',
    wrap: (log) => withTransactions(log, () => ({ positions: () => {} })),
  },
  {
    name: 'positions commit separately from their transaction',
    caught_by: 'positions and outputs of a claim commit together, or not at all',
    wrap: (log) =>
      withTransactions(log, (transaction, side) => {
        let apart: Promise<void> = Promise.resolve()
        return {
          positions: (claim, positions) => {
            apart = side().then(async (other) => {
              other.positions(claim, positions)
              await other.commit()
            })
          },
          commit: () => apart.then(() => transaction.commit()),
          abort: () => apart.then(() => transaction.abort()),
        }
      }),
  },
  {
    name: 'ownership is compared at the commit',
    caught_by:
      'ownership is compared with the poll: a partition lost and regained in between is fenced, and reported as both',
    wrap: (log) => {
      const keep = (polled: Polled) => {
        LATEST_CLAIMS.set(polled.claim.group, polled.claim)
        return polled
      }
      const watched = withPolls(log, keep)
      return withTransactions(watched, (transaction) => ({
        positions: (claim, positions) => transaction.positions(LATEST_CLAIMS.get(claim.group) ?? claim, positions),
      }))
    },
  },
  {
    name: 'each member owns everything',
    caught_by: 'from one to three members and back, every partition has exactly one owner and shares are even',
    wrap: (log) => {
      let members = 0
      return changed(log, {
        join: async (options) => {
          members += 1
          return await log.join({ ...options, group: `${options.group}/${process.hrtime.bigint()}/${members}` })
        },
      })
    },
  },
  {
    name: 'topics of a group are assigned separately',
    caught_by: 'partition p of every topic of the group has the same owner',
    wrap: (log) => {
      const second = (topic: string, all: readonly string[]) => all.length > 1 && topic === all[1]
      return changed(log, {
        join: async (options) => {
          const member = await log.join(options)
          const other = (one: LogRecord) =>
            second(one.topic, options.topics) ? { ...one, partition: 3 - one.partition } : one
          const poll: Member['poll'] = async (o) => {
            const polled = await member.poll(o)
            return { ...polled, records: polled.records.map(other) }
          }
          return delegate(member, { poll })
        },
      })
    },
  },
  {
    name: 'a record is lost at the end of a page',
    caught_by: 'pages of any size join without a lost, duplicated or reordered record, also across gaps',
    wrap: (log) =>
      changed(log, {
        read: async (request) => {
          const page = await log.read(request)
          const end = (await log.endOffsets(request.topic))[request.partition] as bigint
          return page.next < end && page.records.length > 1 ? { ...page, records: page.records.slice(0, -1) } : page
        },
      }),
  },
  {
    name: 'a record is returned twice at the end of a page',
    caught_by: 'pages of any size join without a lost, duplicated or reordered record, also across gaps',
    wrap: (log) =>
      changed(log, {
        read: async (request) => {
          const page = await log.read(request)
          return page.records.length > 1 ? { ...page, next: page.records.at(-1)?.offset ?? page.next } : page
        },
      }),
  },
  {
    name: 'reading gets stuck at a gap',
    caught_by: 'pages of any size join without a lost, duplicated or reordered record, also across gaps',
    wrap: (log) =>
      changed(log, {
        read: async (request) => {
          const page = await log.read(request)
          const last = page.records.at(-1)
          return { ...page, next: last === undefined ? request.from : last.offset + 1n }
        },
      }),
  },
  {
    name: 'reading is not bounded',
    caught_by: 'a read returns at most max_bytes, but at least one record',
    wrap: (log) => changed(log, { read: (request) => log.read({ ...request, max_bytes: 1e9 }) }),
  },
  {
    name: 'polling is not bounded',
    caught_by: 'a poll returns at most max_bytes, and loses or duplicates nothing at the edges',
    wrap: (log) => withMembers(log, (member) => ({ poll: (o) => member.poll({ ...o, max_bytes: 1e9 }) })),
  },
  {
    name: 'records are delivered in the poll that reports their partition as gained',
    caught_by:
      'a lone member gets every partition, is told before the first record, and reads in order from the beginning',
    wrap: (log) =>
      withMembers(log, (member) => ({
        poll: async (options) => {
          const first = await member.poll(options)
          if (first.gained.length === 0) return first
          return { ...(await member.poll(options)), gained: first.gained, lost: first.lost }
        },
      })),
  },
  {
    name: 'losses are not reported',
    caught_by: 'from one to three members and back, every partition has exactly one owner and shares are even',
    wrap: (log) => withPolls(log, (polled) => ({ ...polled, lost: [] })),
  },
  {
    name: 'leaving keeps the partitions until the session ends',
    caught_by: 'a member that leaves hands its partitions over at once',
    wrap: (log) => withMembers(log, () => ({ leave: async () => {} })),
  },
  {
    name: 'sessions never end',
    caught_by: 'a silent member loses its partitions after its session, and is fenced when it returns',
    wrap: (log) => changed(log, { join: (options) => log.join({ ...options, session_timeout_ms: 1e9 }) }),
  },
  {
    name: 'seeking is ignored',
    caught_by: 'a member seeks back and forth within what it owns',
    wrap: (log) => withMembers(log, () => ({ seek: () => {} })),
  },
  {
    name: 'pausing is ignored',
    caught_by: 'a paused partition delivers nothing, keeps its position, and continues when resumed',
    wrap: (log) => withMembers(log, () => ({ pause: () => {} })),
  },
  {
    name: 'pausing a topic pauses its partition',
    caught_by: 'a paused topic of a partition waits, however old its records are, and its other topics are delivered',
    wrap: (log) => withMembers(log, (member) => ({ pause: (partitions) => member.pause(partitions) })),
  },
  {
    name: 'retention deletes nothing',
    caught_by: 'deleted records are gone: the beginning moves, reading below it is refused, the rest stays',
    wrap: (log) => changed(log, { deleteBefore: async () => {} }),
  },
  {
    name: 'records that retention removed are skipped silently',
    caught_by: 'deleted records are gone: the beginning moves, reading below it is refused, the rest stays',
    wrap: (log) =>
      changed(log, {
        read: async (request) => {
          const begin = (await log.beginningOffsets(request.topic))[request.partition] ?? 0n
          return await log.read({ ...request, from: request.from < begin ? begin : request.from })
        },
      }),
  },
  {
    name: 'the end is one too low',
    caught_by: 'the end is an offset at which everything committed has been seen',
    wrap: (log) =>
      changed(log, {
        endOffsets: async (topic) => (await log.endOffsets(topic)).map((end) => (end > 1n ? end - 2n : end)),
      }),
  },
  {
    name: 'a member never learns of a takeover',
    caught_by: 'a member that does not poll learns which of its partitions another member has, and only of those',
    wrap: (log) => withMembers(log, () => ({ ownership: () => new AbortController().signal })),
  },
  {
    name: 'a rebalance ends the ownership of retained partitions',
    caught_by: 'a member that does not poll learns which of its partitions another member has, and only of those',
    wrap: (log) =>
      withMembers(log, (member) => ({
        ownership: () => AbortSignal.any([0, 1].map((partition) => member.ownership(partition))),
      })),
  },
  {
    name: 'tombstones become empty values',
    caught_by: 'key, headers and value are read back as written: unicode, empty, tombstones, many headers, 512 KiB',
    wrap: (log) =>
      withTransactions(log, (transaction) => ({
        append: (topic, partition, record) =>
          transaction.append(topic, partition, { ...record, value: record.value ?? new Uint8Array() }),
      })),
  },
  {
    name: 'standalone positions ignore live members',
    caught_by: 'a group without members commits positions; with live members that is refused and changes nothing',
    wrap: (log) =>
      withTransactions(log, (transaction) => ({
        commit: () => transaction.commit().catch((error: Error) => ignoreMembers(error)),
      })),
  },
  {
    name: 'a recreated topic keeps its id',
    caught_by: 'a topic has its own id, the same on every handle and after a restart; recreated, it has another',
    wrap: (log) =>
      changed(log, { topics: async () => (await log.topics()).map((topic) => ({ ...topic, id: topic.name })) }),
  },
  {
    name: 'positions do not name the last record before them',
    caught_by: 'the positions of a poll name the topic and the last record read before them, also across gaps',
    wrap: (log) =>
      withPolls(log, (polled) => ({
        ...polled,
        positions: polled.positions.map(({ seen, ...at }) =>
          seen === undefined ? at : { ...at, seen: { topic_id: seen.topic_id } },
        ),
      })),
  },
  {
    name: 'positions are stored as offsets only',
    caught_by:
      'positions are returned with what was read before them, of members, standalone ones and those of another log',
    wrap: (log) => changed(log, { committed: async (group) => (await log.committed(group)).map(withoutSeen) }),
  },
  {
    name: 'positions are committed even if their topic was recreated',
    caught_by:
      'a position in a topic that was recreated since it was read is refused, and nothing of its transaction is written',
    wrap: (log) =>
      withTransactions(log, (transaction) => ({
        positions: (claim, positions) => transaction.positions(claim, positions.map(withoutSeen)),
      })),
  },
  {
    name: 'a member keeps reading in a recreated topic',
    caught_by: 'a poll tells a member that its topic was recreated, also when no records arrive',
    wrap: (log) =>
      withMembers(log, (member) => {
        let last: Polled | undefined
        const poll: Member['poll'] = async (options) => {
          try {
            last = await member.poll(options)
            return last
          } catch (error) {
            if (!(error instanceof TopicReplacedError) || last === undefined) throw error
            return { ...last, records: [], gained: [], lost: [], positions: [] }
          }
        }
        return { poll }
      }),
  },
  {
    name: 'positions name a different topic than was read',
    caught_by: 'a member that joins after a topic was recreated reads the new one, and its positions name it',
    wrap: (log) =>
      withPolls(log, (polled) => ({
        ...polled,
        positions: polled.positions.map((at) => ({ ...at, seen: { topic_id: 'another' } })),
      })),
  },
]

function withoutSeen({ topic, partition, next }: Position): Position {
  return { topic, partition, next }
}

function ignoreMembers(error: Error): void {
  if (!error.message.includes('live members')) throw error
}
