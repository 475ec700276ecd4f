import { describe, expect, test } from 'vitest'
import { recordsOf } from '../../../testing/counting.ts'
import { MemoryBroker } from '../../log/memory/broker.ts'
import { memoryLog } from '../../log/memory/memory-log.ts'
import {
  CommitOutcomeUnknownError,
  FencedError,
  type Log,
  LogUnreachableError,
  type Producer,
} from '../../log/port/log.ts'
import { ResumingProducer, RivalError } from './resuming-producer.ts'

const TOPIC = 'steps'
const WORK = { transactional_id: 'source/steps', group: 'source/steps' }

async function opened(): Promise<{ log: Log; broker: MemoryBroker }> {
  const broker = new MemoryBroker()
  const log = memoryLog({ broker })
  await log.createTopics([{ name: TOPIC, partitions: 1 }])
  return { log, broker }
}

/** Appends step `next` and commits the position after it. */
async function step(producer: ResumingProducer, next: bigint): Promise<void> {
  const value = new TextEncoder().encode(String(next))
  await producer.commit(
    (transaction) => transaction.append(TOPIC, 0, { key: String(next), headers: [], value }),
    [{ topic: TOPIC, partition: 0, next: next + 1n }],
  )
}

const steps = async (log: Log) => (await recordsOf(log, TOPIC)).map(({ key }) => Number(key))

/** The log, but the commits of its producers run through the functions in `ends`, in order. */
function ending(log: Log, ends: ((commit: () => Promise<void>) => Promise<void>)[]): Log {
  const producer = async (options: { readonly transactional_id: string }): Promise<Producer> => {
    const real = await log.producer(options)
    return {
      begin() {
        const transaction = real.begin()
        const commit = () => transaction.commit()
        return {
          append: (...args) => transaction.append(...args),
          positions: (...args) => transaction.positions(...args),
          standalonePositions: (...args) => transaction.standalonePositions(...args),
          abort: () => transaction.abort(),
          commit: () => (ends.shift() ?? ((all) => all()))(commit),
        }
      },
      close: () => real.close(),
    }
  }
  return new Proxy(log, {
    get: (target, name) => {
      const value = Reflect.get(target, name) as unknown
      return name === 'producer' ? producer : typeof value === 'function' ? value.bind(target) : value
    },
  })
}

describe('a producer that the log has expired', () => {
  test('is reopened and continues, each step once', async () => {
    const { log } = await opened()
    const producer = await ResumingProducer.open(log, WORK)
    for (let next = 0n; next < 5n; next++) {
      // Bumps the producer epoch, as a broker does when it aborts a transaction that timed out.
      await log.producer(WORK)
      await step(producer, next)
    }
    expect(await steps(log)).toEqual([0, 1, 2, 3, 4])
    const again = await ResumingProducer.open(log, WORK)
    expect(again.positions[0]?.next).toBe(5n)
  })

  test.each([
    ['and it was committed', true],
    ['and it was not', false],
  ])('during a commit with an unknown outcome, %s: the step is written once', async (_how, committed) => {
    const { log } = await opened()
    const unknown = async (commit: () => Promise<void>) => {
      if (committed) await commit()
      throw new CommitOutcomeUnknownError('the connection was lost')
    }
    const producer = await ResumingProducer.open(ending(log, [unknown, (commit) => commit(), unknown]), WORK)
    for (let next = 0n; next < 3n; next++) await step(producer, next)
    expect(await steps(log)).toEqual([0, 1, 2])
  })

  test('for good is reported after a bounded number of tries', async () => {
    const { log } = await opened()
    const fenced = async () => {
      throw new FencedError('given up')
    }
    const producer = await ResumingProducer.open(ending(log, Array(6).fill(fenced)), WORK)
    await expect(step(producer, 0n)).rejects.toThrow('given up')
    expect(await steps(log)).toEqual([])
  })
})

test('a commit whose answer was lost with the log is recognised when it is repeated', async () => {
  const { log } = await opened()
  const committed = async (commit: () => Promise<void>) => {
    await commit()
    is_away = true
    throw new CommitOutcomeUnknownError('the connection was lost')
  }
  let is_away = false
  const flaky = new Proxy(ending(log, [committed]), {
    get: (target, name) =>
      name === 'producer' && is_away
        ? () => Promise.reject(new LogUnreachableError('no answer'))
        : (Reflect.get(target, name) as unknown),
  })
  const producer = await ResumingProducer.open(flaky, WORK)
  await expect(step(producer, 0n)).rejects.toThrow(LogUnreachableError)
  is_away = false
  await step(producer, 0n)
  await step(producer, 1n)
  expect(await steps(log)).toEqual([0, 1])
})

describe('two live processes with the same work', () => {
  test('one continues, the other ends and names it; each step is written once', async () => {
    const { broker, log } = await opened()
    const [first, second] = await Promise.all(
      [0, 1].map(async () => {
        const producer = await ResumingProducer.open(memoryLog({ broker }), WORK)
        try {
          for (let next = producer.positions[0]?.next ?? 0n; next < 50n; next++) await step(producer, next)
          return 'done'
        } catch (error) {
          return error
        }
      }),
    )
    const lost = [first, second].filter((end) => end instanceof RivalError)
    expect([first, second].filter((end) => end === 'done')).toHaveLength(1)
    expect(lost).toHaveLength(1)
    expect(String(lost[0])).toContain(`source/steps: process ${process.pid} on `)
    expect(await steps(log)).toEqual(Array.from({ length: 50 }, (_, at) => at))
  })

  test('one that was stopped while the other finished ends with its name, and writes nothing', async () => {
    const { log } = await opened()
    const stopped = await ResumingProducer.open(log, WORK)
    await step(stopped, 0n)
    const other = await ResumingProducer.open(log, WORK)
    await step(other, 1n)
    await other.close()
    await expect(step(stopped, 1n)).rejects.toThrow(RivalError)
    expect(await steps(log)).toEqual([0, 1])
  })
})
