import { setTimeout as wait } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { memoryBlobs as memory } from '../../infra/blobs/memory.ts'
import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import type { Log } from '../../infra/log/port/log.ts'
import { headerOf } from '../../infra/runtime/internal/json-records.ts'
import { replay } from '../../infra/runtime/rebuild/replay.ts'
import { ResumingProducer } from '../../infra/runtime/work/resuming-producer.ts'
import type { Event } from '../../schemas/declare/event.ts'
import { clockTicked } from '../../schemas/events/clock.ts'
import { rewardDefined } from '../../schemas/events/reward.ts'
import { Clock } from '../../sources/clock.ts'
import { runSource } from '../../sources/run-source.ts'
import { inSteps, type Steps } from '../../sources/source.ts'
import { catalogue, vocabulary } from '../../streams/vocabulary.ts'
import { recordsOf } from '../../testing/counting.ts'
import { describeWithBroker, testBroker } from '../../testing/with-broker.ts'

const TRANSACTION_MS = 3_000
/** Longer than the timeout plus the second after which the broker looks for expired transactions. */
const STALL_MS = 6_000
const STEPS = 40_000

const step = (index: number): Event<typeof rewardDefined> => ({
  id: `step-${index}`,
  source: '/sources/test',
  type: rewardDefined.type,
  version: rewardDefined.version,
  time: '2026-01-01T00:00:00.000Z',
  clock: 'virtual',
  key: `step-${index}`,
  causes: [],
  data: {
    ...{ reward_name: `step-${index}`, reward_version: 1, dialect: 'paper' },
    ...{ file: '', source: '', source_sha256: '' },
  },
})
const steps: Steps = {
  name: 'stalled',
  steps: STEPS,
  types: [rewardDefined],
  produce: async (from, to) =>
    Array.from({ length: to - from }, (_, at) => ({ type: rewardDefined, event: step(from + at) as unknown as Event })),
}
/** Records and markers of transactions, in all partitions; 0 for a topic that is not there yet. */
async function endOf(log: Log, topic: string): Promise<number> {
  if (!(await log.topics()).some(({ name }) => name === topic)) return 0
  return (await log.endOffsets(topic)).reduce((sum, end) => sum + Number(end), 0)
}
const idsIn = async (log: Log) => (await recordsOf(log, rewardDefined.type)).map((record) => headerOf(record, 'ce_id'))

describeWithBroker('a coordinator that stalls for longer than a transaction may take', () => {
  test('a source, a replay, a clock and single commits resume, each record once', async () => {
    const broker = await testBroker()
    const [node] = broker.nodes
    const open = (prefix: string) =>
      openKafkaLog({ address: `kafka://${broker.bootstrap}/${prefix}`, transaction_timeout_ms: TRANSACTION_MS })
    const [log, copy] = [await open('first'), await open('copy')]
    const topics = [rewardDefined, clockTicked].map(({ type }) => ({ name: type, partitions: 2 }))
    await log.createTopics([...topics, { name: 'single', partitions: 1 }])
    const blobs = memory()

    // Something to replay.
    await runSource(inSteps({ ...steps, name: 'recorded', steps: 20_000 }), { log, blobs, partitions: 2 })
    const recorded = await endOf(log, rewardDefined.type)
    let stalled = false
    const working = [
      runSource(inSteps(steps), { log, blobs, partitions: 2 }),
      replay({
        ...{ from: { log, blobs }, to: { log: copy, blobs }, name: 'replay/test', events: catalogue, vocabulary },
        ...{
          what: 'sources',
          speed: Number.POSITIVE_INFINITY,
          signal: new AbortController().signal,
          batch_records: 50,
        },
      }),
      (async () => {
        const clock = Clock.open({ log, blobs, partitions: 2 }, 'test')
        while (!stalled) await clock.tick('wall', new Date().toISOString())
        await clock.close()
      })(),
      (async () => {
        const producer = await ResumingProducer.open(log, { transactional_id: 'single', group: 'single' })
        let next = 0n
        for (; !stalled; next++) {
          const value = Buffer.from(String(next))
          await producer.commit(
            (transaction) => transaction.append('single', 0, { key: String(next), headers: [], value }),
            [{ topic: 'single', partition: 0, next: next + 1n }],
          )
        }
        await producer.close()
        const keys = (await recordsOf(log, 'single')).map(({ key }) => Number(key))
        expect(keys).toEqual(Array.from({ length: Number(next) }, (_, at) => at))
      })(),
    ]
    for (const work of working) work.catch(() => undefined)
    // Each has its producer and has committed with it: what fails to open one is reported, not resumed.
    const begun = async () => {
      const stepped = (await endOf(log, rewardDefined.type)) - recorded
      const ticks = await endOf(log, clockTicked.type)
      const singles = await endOf(log, 'single')
      const copied = await endOf(copy, rewardDefined.type)
      return Math.min(stepped, ticks, singles, copied) > 0
    }
    await expect.poll(begun, { interval: 20 }).toBe(true)
    process.kill(node?.pid as number, 'SIGSTOP')
    await wait(STALL_MS)
    process.kill(node?.pid as number, 'SIGCONT')
    await wait(5_000)
    stalled = true
    const [, replayed] = await Promise.all(working)

    const ids = await idsIn(log)
    expect([ids.length, new Set(ids).size]).toEqual([20_000 + STEPS, STEPS])
    const copied = await idsIn(copy)
    expect(replayed).toMatchObject({ complete: true, records: copied.length })
    expect(copied.length).toBeGreaterThanOrEqual(20_000)
    await log.close()
    await copy.close()
  }, 240_000)
})
