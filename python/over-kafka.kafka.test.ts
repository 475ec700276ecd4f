import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, inject, test } from 'vitest'
import { directoryBlobs } from '../infra/blobs/directory.ts'
import { serveHttp } from '../infra/http/http-server.ts'
import { openKafkaLog } from '../infra/log/kafka/kafka-log.ts'
import { topicsOf } from '../infra/runtime/state/topics.ts'
import { isA } from '../processors/processor.ts'
import type { Event, EventType } from '../schemas/declare/event.ts'
import { catalogueOf } from '../schemas/declare/registry.ts'
import { modelPublished } from '../schemas/events/model.ts'
import { groupFormed } from '../schemas/events/rollout.ts'
import { checkpointSaved, groupsDropped, TRAINING_EVENTS } from '../schemas/events/training.ts'
import { encodeEvent } from '../schemas/wire/codec.ts'
import { homesOf } from '../schemas/wire/routing.ts'
import { ConsumerState } from '../sinks/feed/consumer-state.ts'
import { Feed } from '../sinks/feed/feed.ts'
import { eventsOf } from '../sinks/feed/history.ts'
import { errorAnswer, feedRoutes } from '../sinks/feed/routes.ts'
import { DEFAULT_SUBSCRIPTION } from '../sinks/feed/subscription.ts'
import { formed } from '../testing/feed-log.ts'
import { published } from '../testing/published-model.ts'
import { describeWithBroker, testBroker } from '../testing/with-broker.ts'

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const PYTHON = at('../.venv/bin/python')
const EVENTS: readonly EventType[] = [groupFormed, modelPublished, ...TRAINING_EVENTS]
const PARTITIONS = 4

/** A log on the broker, with groups that no pipeline has formed, and trainers that are real processes. */
class TrainedLog {
  readonly folder = mkdtempSync(join(tmpdir(), 'plumbline-over-kafka-'))
  readonly blobs = directoryBlobs(join(this.folder, 'blobs'))
  readonly address: string
  readonly #log: Awaited<ReturnType<typeof openKafkaLog>>

  private constructor(address: string, log: Awaited<ReturnType<typeof openKafkaLog>>) {
    this.address = address
    this.#log = log
  }

  static async with(name: string, work: (log: TrainedLog) => Promise<void>, broker = inject('kafka')): Promise<void> {
    const address = `kafka://${broker}/over-${name}-${process.pid}`
    const log = new TrainedLog(address, await openKafkaLog({ address }))
    try {
      await log.#log.createTopics(topicsOf(EVENTS, [], PARTITIONS))
      await work(log)
    } finally {
      await log.#log.close()
      rmSync(log.folder, { recursive: true })
    }
  }

  get reading() {
    return { log: this.#log, blobs: this.blobs, vocabulary: catalogueOf(EVENTS), partitions: PARTITIONS }
  }

  async append(...events: readonly Event[]): Promise<void> {
    const producer = await this.#log.producer({ transactional_id: 'test' })
    const transaction = producer.begin()
    for (const event of events) {
      const type = EVENTS.find((one) => one.type === event.type) as EventType
      const { key, headers, value, blobs } = encodeEvent(type, event)
      for (const { bytes, ref } of blobs) await this.blobs.put(bytes, ref.media_type)
      for (const home of homesOf(type, key, PARTITIONS)) transaction.append(type.type, home, { key, headers, value })
    }
    await transaction.commit()
    await producer.close()
  }

  async form(count: number): Promise<void> {
    await this.append(...Array.from({ length: count }, (_, number) => formed(`g${number}`)))
  }

  async python(...words: readonly string[]): Promise<Record<string, unknown>> {
    const [name = '', ...more] = words
    const args = [at('over_kafka_scenarios.py'), name, this.address, this.folder, ...more]
    // What a scenario does not expect rejects, with its traceback.
    const { stdout } = await promisify(execFile)(PYTHON, args, { cwd: at('.'), timeout: 400_000 })
    return JSON.parse(stdout)
  }

  /** The consumer by the feed's fold of its events. */
  async lab(): Promise<ConsumerState> {
    const state = new ConsumerState('lab')
    for await (const event of eventsOf(this.reading, 'lab')) state.apply(event)
    return state
  }

  async committed(): Promise<Map<number, number>> {
    const positions = await this.#log.committed('feed/lab')
    const ofGroups = positions.filter(({ topic }) => topic === groupFormed.type)
    return new Map(ofGroups.map(({ partition, next }) => [partition, Number(next)]))
  }
}

const places = (state: ConsumerState) =>
  state.checkpoints.flatMap(({ groups }) => groups.map(({ partition, offset }) => [partition, offset]))
const sorted = (pairs: Iterable<readonly number[]>) =>
  [...pairs].sort(([p = 0, o = 0], [q = 0, r = 0]) => p - q || o - r)

describeWithBroker('Groups(kafka=…)', () => {
  test.concurrent('two ranks, then three, then one: each group comes once, and the offsets are those of the last checkpoint', () =>
    TrainedLog.with('once', async (log) => {
      await log.form(60)
      const { trained, checkpoint } = await log.python('once')
      const lab = await log.lab()
      expect(lab.counts).toEqual({ numbered: 0, leased: 0, applied: 0, durable: 60, dropped: 0, expired: 0 })
      expect(sorted(places(lab))).toEqual(trained)
      expect(lab.checkpoints.at(-1)).toMatchObject({ checkpoint, epoch: 3 })
      expect(sorted(await log.committed())).toEqual(sorted(lab.drawn))
    }))

  test.concurrent('a fenced older process can neither read, report nor checkpoint, not even one that has just looked', () =>
    TrainedLog.with('fenced', async (log) => {
      await log.form(60)
      const { message, checkpoint } = await log.python('fenced')
      expect(message).toMatch(/^fenced: consumer lab: .*fenced.* a later start of it has taken over/)
      const lab = await log.lab()
      expect(lab.run).toMatchObject({ epoch: 3, checkpoint })
      expect(lab.counts).toEqual({ numbered: 0, leased: 0, applied: 0, durable: 4, dropped: 0, expired: 0 })
    }))

  test.concurrent('a run that resumes from an earlier checkpoint is given again what the later one had made durable', () =>
    TrainedLog.with('back', async (log) => {
      await log.form(20)
      const { trained, checkpoint } = await log.python('rolled_back')
      const lab = await log.lab()
      expect(lab.counts).toEqual({ numbered: 0, leased: 0, applied: 0, durable: 20, dropped: 0, expired: 0 })
      expect(sorted(places(lab))).toEqual(trained)
      expect(lab.checkpoints.at(-1)?.checkpoint).toBe(checkpoint)
      expect(sorted(await log.committed())).toEqual(sorted(lab.drawn))
    }))

  test.concurrent('groups that left the log unread are expired, which the next checkpoint records, and training goes on', () =>
    TrainedLog.with('expired', async (log) => {
      const topic = groupFormed.type
      await log.form(20)
      await log.python('one_step')
      // The client has the broker keep them: what goes now was deleted on purpose.
      expect(await log.reading.log.keepForEver?.([topic])).toEqual({ changed: [] })
      const before = (await log.lab()).drawn
      const ends = await log.reading.log.endOffsets(topic)
      for (const [partition, end] of ends.entries()) await log.reading.log.deleteBefore(topic, partition, end)
      const fresh = Array.from({ length: 6 }, (_, number) => formed(`later-${number}`))
      await log.append(...fresh)
      const { trained } = await log.python('the_rest')
      const lab = await log.lab()
      expect(trained).toHaveLength(6)
      const gone = ends.map((end, partition) => Math.max(0, Number(end) - (before.get(partition) ?? 0)))
      // An upper bound, up to the first record that is left.
      const { expired, ...counts } = lab.counts
      expect(expired).toBeGreaterThanOrEqual(gone.reduce((sum, each) => sum + each))
      expect(counts).toEqual({ numbered: 0, leased: 0, applied: 0, durable: 8, dropped: 0 })
      expect(sorted(await log.committed())).toEqual(sorted(lab.drawn))
    }))

  test.concurrent('groups without variance are dropped with the reason, and a run that resumes drops them again', () =>
    TrainedLog.with('dynamic', async (log) => {
      const rewards = (number: number) => (number % 5 < 2 ? [1, 1] : [1, 0])
      await log.append(...Array.from({ length: 60 }, (_, at) => formed(`g${at}`, { rewards: rewards(at) })))
      const { trained } = await log.python('dynamic')
      const lab = await log.lab()
      expect(lab.counts).toMatchObject({ leased: 0, applied: 0, durable: (trained as unknown[]).length })
      const reasons = new Map<string, string>()
      // The state has the last checkpoints alone.
      const saved: number[][] = []
      for await (const event of eventsOf(log.reading, 'lab')) {
        if (isA(event, checkpointSaved))
          saved.push(...event.data.map(({ partition, offset }) => [partition, Number(offset)]))
        if (isA(event, groupsDropped)) for (const row of event.data) reasons.set(row.group_id, row.reason)
      }
      expect(sorted(saved)).toEqual(trained)
      expect([...new Set(reasons.values())]).toEqual(['no_variance'])
      expect([...reasons.keys()].every((name) => Number(name.slice(1)) % 5 < 2)).toBe(true)
      // A rest of less than a step waits, with what was drawn for it.
      expect(lab.counts.durable).toBeGreaterThan(30)
      expect(lab.counts.dropped).toBe(reasons.size)
      expect(reasons.size).toBeGreaterThan(18)
    }))

  test.concurrent('the feed and Kafka refuse the consumers of each other in words, and fence no trainer', () =>
    TrainedLog.with('refused', async (log) => {
      await log.form(20)
      const feed = new Feed({ ...log.reading, report: () => {} })
      const server = await serveHttp(feedRoutes(feed), { host: '127.0.0.1', port: 0, errorAnswer })
      try {
        const call = async (method: string, consumer: string, path = '', body: object | undefined = {}) => {
          const sent = method === 'GET' ? {} : { body: JSON.stringify(body) }
          const headers = { 'content-type': 'application/json' }
          const answer = await fetch(`http://${server.address}/v1/consumers/${consumer}${path}`, {
            ...{ method, headers },
            ...sent,
          })
          return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
        }
        expect(await call('PUT', 'over-http')).toMatchObject({ status: 200 })
        expect(await log.python('refused_http')).toEqual({
          message:
            'other_transport: consumer over-http: subscribed over HTTP, got a start over Kafka; train with Groups(URL), or subscribe another name',
        })
        expect(await call('POST', 'over-http', '/runs', { run: 'r1', attempt: 'a' })).toMatchObject({ status: 200 })

        const trained = log.python('rolled_back')
        let is_over = false
        void trained.finally(() => {
          is_over = true
        })
        let refused = 0
        while (!is_over) {
          for (const [method, path] of [
            ['GET', ''],
            ['PUT', ''],
            ['DELETE', ''],
            ['POST', '/heartbeats'],
          ] as const) {
            // Before it has subscribed, a PUT would make it a consumer over HTTP.
            if (refused === 0 && method !== 'GET') continue
            const body = path === '' ? {} : { epoch: 1, rank: 0 }
            const answer = await call(method, 'lab', path, body)
            if (answer.status === 404) continue
            refused += 1
            expect(answer).toMatchObject({ status: 409, body: { error: 'other_transport' } })
          }
        }
        await trained
        expect(refused).toBeGreaterThan(4)
      } finally {
        await server.close()
        await feed.close()
      }
      expect((await log.lab()).counts.durable).toBe(20)
    }))

  test.concurrent('a consumer over Kafka that retires takes no more groups, and fences the trainer that still runs', () =>
    TrainedLog.with('retired', async (log) => {
      await log.form(20)
      const { kept, lost, again } = await log.python('retired')
      expect(lost).toMatch(/^fenced: consumer lab: /)
      expect(again).toBe('retired: consumer lab has retired: it has learned enough')
      const lab = await log.lab()
      expect(lab.retired).toBe('it has learned enough')
      expect(lab.counts).toEqual({ numbered: 0, leased: 0, applied: 0, durable: 2, dropped: 0, expired: 0 })
      expect(sorted(places(lab))).toEqual(kept)
      expect(sorted(await log.committed())).toEqual(sorted(lab.drawn))
    }))

  test.concurrent('a consumer over HTTP is not retired over Kafka, and keeps its feed', () =>
    TrainedLog.with('retire-http', async (log) => {
      const feed = new Feed({ ...log.reading, report: () => {} })
      try {
        const consumer = await feed.consumer('over-http', 'open')
        await consumer.subscribe(DEFAULT_SUBSCRIPTION, 'beginning')
        const { message } = await log.python('retire_http')
        expect(message).toMatch(/^other_transport: consumer over-http: subscribed over HTTP/)
        await consumer.startRun({ run: 'r1', attempt: 'a', world_size: 1, resume: null, lineage: null })
        expect(consumer.standing).toMatchObject({ retired: undefined, run: { epoch: 1 } })
      } finally {
        await feed.close()
      }
    }))

  test.concurrent('groups that are too old for the last published model are dropped, in the ledger too', () =>
    TrainedLog.with('stale', async (log) => {
      await log.append(...[1, 2, 3].map((version) => formed(`v${version}`, { version, lineage: 'lab/r1' })))
      await log.append(formed('scripted'))
      // Not of the run, which has published nothing yet.
      await log.append(published({ model_id: 'other', lineage: 'other/r1', version: 9 }))
      expect(await log.python('stale', 'a')).toEqual({ trained: ['scripted', 'v1', 'v2', 'v3'] })
      await log.append(published({ model_id: 'm3', lineage: 'lab/r1', version: 3 }))
      await log.append(...[1, 2, 3].map((version) => formed(`w${version}`, { version, lineage: 'lab/r1~2' })))
      await log.append(published({ model_id: 'm4', lineage: 'lab/r1~2', version: 3 }))
      await log.append(formed('none'))
      expect(await log.python('stale', 'b')).toEqual({ trained: ['w2', 'w3'] })
      const lab = await log.lab()
      expect(lab.run?.lineage).toBe('lab/r1~2')
      expect(lab.counts).toEqual({ numbered: 0, leased: 0, applied: 0, durable: 6, dropped: 2, expired: 0 })
    }))

  test.concurrent('another subscription under the same name is refused', () =>
    TrainedLog.with('again', async (log) => {
      const { message } = await log.python('resubscribed')
      expect(message).toBe(
        'already_subscribed: consumer lab: max_staleness: subscribed with 1, got None; a subscription does not change: take another name',
      )
    }))

  test.concurrent('a rank that starts again within an attempt is refused: its receipts are gone', () =>
    TrainedLog.with('twice', async (log) => {
      await log.form(8)
      const { message } = await log.python('joined_twice')
      expect(message).toMatch(/rank 1 has joined attempt a before; start all ranks again, under another attempt$/)
    }))

  test.concurrent('large columns, which are in blobs, are in the groups', () =>
    TrainedLog.with('large', async (log) => {
      const wide = formed('wide')
      const tokens = Array.from({ length: 40_000 }, (_, number) => number)
      await log.append({ ...wide, data: wide.data.map((row) => ({ ...row, token_ids: tokens })) })
      expect(await log.python('large')).toEqual({ tokens: [40_000, 40_000] })
    }))
})

describeWithBroker('a broker that restarts under a trainer over Kafka', () => {
  test('killed and stopped once each: both ranks go on, each group is durable once, and no checkpoint is lost', {
    timeout: 480_000,
  }, async () => {
    const broker = await testBroker()
    const [node] = broker.nodes
    await TrainedLog.with(
      'restarted',
      async (log) => {
        await log.form(400)
        const trained = log.python('restarted')
        let failure: unknown
        trained.catch((error: unknown) => {
          failure = error
        })
        const stepNow = () => Number(readFileSync(join(log.folder, 'step'), { encoding: 'utf8', flag: 'a+' }) || 0)
        const until = async (step: number) => {
          while (stepNow() < step) {
            if (failure !== undefined) throw failure
            await pause(50)
          }
        }
        await until(2)
        await node?.kill()
        await node?.start()
        await until(stepNow() + 3)
        await node?.stop()
        await node?.start()
        await until(stepNow() + 3)
        writeFileSync(join(log.folder, 'over'), '')
        const { trained: places_, checkpoint, step } = await trained
        const lab = await log.lab()
        expect(lab.checkpoints.at(-1)).toMatchObject({ checkpoint, step, epoch: 1 })
        const groups = places_ as readonly (readonly number[])[]
        expect(groups).toHaveLength(2 * Number(step))
        expect(lab.counts).toEqual({
          numbered: 0,
          leased: 0,
          applied: 0,
          durable: groups.length,
          dropped: 0,
          expired: 0,
        })
        // The last 16 checkpoints are kept with their groups.
        expect(groups.map(String)).toEqual(expect.arrayContaining(places(lab).map(String)))
        expect(sorted(await log.committed())).toEqual(sorted(lab.drawn))
      },
      broker.bootstrap,
    )
  })
})
