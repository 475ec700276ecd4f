import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { directoryBlobs } from '../infra/blobs/directory.ts'
import { memoryBlobs } from '../infra/blobs/memory.ts'
import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import type { Log } from '../infra/log/port/log.ts'
import { ResumingProducer } from '../infra/runtime/work/resuming-producer.ts'
import { sleep } from '../infra/sleep.ts'
import { consumerSubscribed } from '../schemas/events/training.ts'
import { Feed } from '../sinks/feed/feed.ts'
import { lastSnapshot } from '../sinks/feed/snapshots.ts'
import { DEFAULT_SUBSCRIPTION } from '../sinks/feed/subscription.ts'
import { appendGroups } from './feed-groups.ts'
import { appendHistory } from './feed-history.ts'
import { stalledConsumers } from './feed-stalled.ts'
import { type BenchFolder, benchFolder } from './folder.ts'
import type { Bench, Gauge, Measure, OpenBench } from './pairs.ts'
import { noBlobs, PARTITIONS, vocabulary } from './tower-log.ts'

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const PYTHON = at('../.venv/bin/python')
/** Of snapshots alone: the groups here are small enough for their records. */
const BLOBS = memoryBlobs()
const COMPLETIONS = 16
const GROUPS_PER_STEP = 8
const STEPS_PER_CHECKPOINT = 50
/** Of one step: its lease, its begin and its receipt. */
const COMMITS_PER_STEP = 3

/** The feed compared with Arrow over HTTP and with bare commits, and how long it takes to read a history. */
export const open: OpenBench = async ({ quick }) => {
  if (!existsSync(PYTHON)) {
    throw new Error(
      `${PYTHON} is missing; npm test makes it, or: uv venv --python 3.11 .venv && uv pip sync --require-hashes python/requirements.txt`,
    )
  }
  const folder = await benchFolder()
  const small = await toPython(folder, { tokens: 256, groups: quick ? 8 : 1_024, batch: quick ? 4 : 32, goal: 0.6 })
  const large = await toPython(folder, { tokens: 8_192, groups: quick ? 4 : 64, batch: quick ? 2 : 8, goal: 0.4 })
  const many = await stalledConsumers(folder, quick ? 32 : 128)
  const steps = await stepsOf(folder, quick ? STEPS_PER_CHECKPOINT : 4 * STEPS_PER_CHECKPOINT)
  return {
    measures: [...small.measures, ...large.measures, ...steps.measures, ...many.measures],
    gauges: [
      ...(many.gauges ?? []),
      opening(folder, quick ? 100 : 20_000, 1, 'all events'),
      opening(folder, quick ? 100 : 20_000, 1, 'snapshots'),
      opening(folder, quick ? 50 : 13_900, 9, 'snapshots'),
    ],
    async close() {
      for (const { close } of [small, large, steps, many]) await close?.()
      await folder.remove()
    },
  }
}

/** How long a feed takes to open consumers with equal histories, and one that has joined last and has none. */
function opening(folder: BenchFolder, steps: number, consumers: number, from: 'all events' | 'snapshots'): Gauge {
  const groups = steps * GROUPS_PER_STEP
  const names = Array.from({ length: consumers }, (_, at) => `history-${at}`)
  const opened = async (log: Log): Promise<number> => {
    const begun_ms = performance.now()
    const feed = feedOn(log)
    const found = await Promise.all([...names, 'last'].map((name) => feed.consumer(name)))
    const taken_ms = performance.now() - begun_ms
    const durable = found.reduce((sum, { standing }) => sum + standing.counts.durable, 0)
    if (durable !== groups * consumers) throw new Error(`expected ${groups * consumers} durable groups, got ${durable}`)
    // A snapshot is taken aside: closing at once would give it up.
    for (const name of from === 'snapshots' ? [...names, 'last'] : []) await snapshotTaken(log, name)
    await feed.close()
    return taken_ms / 1_000
  }
  const those = consumers === 1 ? 'a consumer' : `${consumers} consumers`
  return {
    what: `the feed opens ${those} with ${steps.toLocaleString('en')} steps of ${GROUPS_PER_STEP} groups each, and one that joined last, from ${from}`,
    unit: 's',
    // The first start on a log of an earlier release, and whenever a snapshot is of no use.
    ...(from === 'snapshots' ? { goal: 5 } : {}),
    async values() {
      const dir = folder.fresh('history')
      const made = await openLmdbLog({ dir })
      for (const consumer of names) {
        const of_each = { steps, groups_per_step: GROUPS_PER_STEP, per_checkpoint: STEPS_PER_CHECKPOINT }
        await appendHistory(made, { consumer, ...of_each })
      }
      await appendHistory(made, { consumer: 'last', steps: 0, groups_per_step: 0, per_checkpoint: 1 })
      await made.close()
      const log = await openLmdbLog({ dir })
      const times = [await opened(log)]
      if (from === 'snapshots') times[0] = await opened(log)
      await log.close()
      return times
    },
  }
}

async function snapshotTaken(log: Log, consumer: string): Promise<void> {
  const reading = { log, blobs: BLOBS, vocabulary, partitions: PARTITIONS }
  while ((await lastSnapshot(reading, consumer, () => {})) === undefined) await sleep(20)
}

interface Work {
  readonly tokens: number
  readonly groups: number
  /** Groups of a lease and of a step. */
  readonly batch: number
  readonly goal: number
}

/** Every column of tokens read by Python, from the feed and from a server that has the same streams in memory. */
async function toPython(folder: BenchFolder, { tokens, groups, batch, goal }: Work): Promise<Bench> {
  const [dir, blobs] = [folder.fresh('log'), folder.fresh('blobs')]
  const log = await openLmdbLog({ dir })
  await appendGroups(log, directoryBlobs(blobs, { flush: false }), groups, COMPLETIONS, tokens)
  await log.close()
  const feed = spawn(process.execPath, [...profiled(), at('./feed-process.ts'), dir, blobs], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const [url] = (await once(createInterface({ input: feed.stdout }), 'line')) as [string]
  const streams = await leased(url, groups, batch)
  const bare = createServer(({ url: path = '/0' }, response) => {
    const body = streams[Number(path.slice(1))]
    response.writeHead(200, { 'content-length': body?.length ?? 0 }).end(body)
  }).listen(0, '127.0.0.1')
  await once(bare, 'listening')
  const client = spawn(PYTHON, ['-u', at('./feed-client.py')], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, PYTHONPATH: at('../python') },
  })
  const answers = createInterface({ input: client.stdout })[Symbol.asyncIterator]()
  const ask = async (...words: readonly (string | number)[]) => {
    client.stdin.write(`${words.join(' ')}\n`)
    const { value } = await answers.next()
    if (Number(value) !== groups * COMPLETIONS) {
      throw new Error(`the client of the feed: expected ${groups * COMPLETIONS} rows, got ${value ?? 'nothing'}`)
    }
    return groups
  }
  const closed = async () => void (await answers.next())
  let turn = 0
  const measure: Measure = {
    what: `the feed to Python: groups of ${COMPLETIONS} completions of ${tokens.toLocaleString('en')} tokens, ${batch} to a lease and step`,
    unit: 'groups',
    seconds: 'wall',
    goal,
    candidate: {
      what: 'with leases and receipts',
      run: () => ask('feed', url, `bench-${turn++}`, groups, batch),
      finish: closed,
    },
    ceiling: {
      what: 'the same Arrow streams over HTTP into pyarrow',
      run: () => ask('bare', `http://127.0.0.1:${(bare.address() as AddressInfo).port}`, streams.length),
    },
  }
  return {
    measures: [measure],
    async close() {
      await ended(client)
      bare.close()
      await ended(feed)
    },
  }
}

/** The streams of all leases of a log. */
async function leased(url: string, groups: number, batch: number): Promise<Buffer[]> {
  const call = async (method: string, path: string, body: unknown) => {
    const answer = await fetch(`${url}/v1/consumers/ceiling${path}`, {
      ...{ method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) },
    })
    if (answer.status !== 200) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`)
    return Buffer.from(await answer.arrayBuffer())
  }
  await call('PUT', '', {})
  await call('POST', '/runs', { run: 'bench', attempt: 'bench' })
  const streams: Buffer[] = []
  for (let request = 0; request * batch < groups; request++) {
    const wanted = { epoch: 1, rank: 0, request: String(request), groups: batch, bytes: 2 ** 28 }
    streams.push(await call('POST', '/leases', wanted))
  }
  await call('DELETE', '', {})
  return streams
}

/** Steps on small groups, compared with as many commits that write positions alone. */
async function stepsOf(folder: BenchFolder, steps: number): Promise<Bench> {
  const log = await openLmdbLog({ dir: folder.fresh('log') })
  await appendGroups(log, noBlobs, steps * GROUPS_PER_STEP, 2, 0)
  const feed = feedOn(log)
  const id = 'bench/positions'
  const positions = await ResumingProducer.open(log, { transactional_id: id, group: id })
  let turn = 0
  let committed = 0n
  return {
    measures: [
      {
        what: `steps of ${GROUPS_PER_STEP} groups with a checkpoint every ${STEPS_PER_CHECKPOINT} steps, flushed`,
        unit: 'steps',
        seconds: 'wall',
        goal: 0.5,
        candidate: {
          what: 'leases, begins, receipts and checkpoints',
          run: () => train(feed, `bench-${turn++}`, steps),
        },
        ceiling: {
          what: 'as many commits of positions alone',
          async run() {
            const commits = steps * COMMITS_PER_STEP + steps / STEPS_PER_CHECKPOINT
            for (let done = 0; done < commits; done++) {
              await positions.commit(() => {}, [{ topic: consumerSubscribed.type, partition: 0, next: ++committed }])
            }
            return steps
          },
        },
      },
    ],
    async close() {
      await feed.close()
      await positions.close()
      await log.close()
    },
  }
}

async function train(feed: Feed, name: string, steps: number): Promise<number> {
  const consumer = await feed.consumer(name, 'open')
  await consumer.subscribe(DEFAULT_SUBSCRIPTION, 'beginning')
  const { epoch } = await consumer.startRun({ run: 'bench', attempt: name, world_size: 1, resume: null, lineage: null })
  let since: number[] = []
  let parent: string | null = null
  const caller = { epoch, rank: 0 }
  const lease = async (step: number) => {
    const wanted = { ...caller, request: String(step), groups: GROUPS_PER_STEP, bytes: 2 ** 26 }
    return step > steps ? undefined : await consumer.lease(wanted, 0, feed.signal)
  }
  // As the Python client does: the groups of the next step are leased during this one.
  let ahead = lease(1)
  for (let step = 1; step <= steps; step++) {
    const leased = await ahead
    ahead = lease(step + 1)
    if (leased?.groups.length !== GROUPS_PER_STEP) throw new Error(`step ${step}: too few groups`)
    const groups = leased.groups.map(({ sequence }) => ({ sequence, lease: leased.lease }))
    await consumer.beginStep({ ...caller, step, groups })
    await consumer.applied({ ...caller, step, loss: 0.5, grad_norm: 1, tokens: 100, seconds: 1, metrics: {} })
    since.push(...groups.map(({ sequence }) => sequence))
    if (step % STEPS_PER_CHECKPOINT !== 0) continue
    const checkpoint = `step-${step}`
    await consumer.checkpoint({ epoch, checkpoint, parent, step, weights_sha256: 'w', groups: since })
    parent = checkpoint
    since = []
  }
  return steps
}

function feedOn(log: Awaited<ReturnType<typeof openLmdbLog>>): Feed {
  const report = (message: string) => void process.stderr.write(`${message}\n`)
  return new Feed({ log, blobs: BLOBS, vocabulary, partitions: PARTITIONS, report })
}

/** `BENCH_PROFILE=DIR` writes a profile of each feed there. */
function profiled(): string[] {
  const { BENCH_PROFILE: dir } = process.env
  return dir === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${dir}`]
}

async function ended(child: ChildProcess): Promise<void> {
  child.stdin?.end()
  if (child.exitCode === null) await once(child, 'exit')
}
