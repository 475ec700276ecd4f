import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { programFile } from '../../bundle/program-file.mjs'
import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import type { Log, Producer } from '../../infra/log/port/log.ts'
import { DEFAULT_TUNING } from '../../infra/runtime/work/worker.ts'
import type { Event } from '../../schemas/declare/event.ts'
import { encodeEvent } from '../../schemas/wire/codec.ts'
import { partitionOf } from '../../schemas/wire/routing.ts'
import { type DuckDbSink, openDuckDbSink } from '../../sinks/duckdb/duckdb-sink.ts'
import type { Emitted } from '../../sources/source.ts'
import { catalogue, views } from '../../streams/vocabulary.ts'
import { benchFolder } from '../folder.ts'
import { isRequest, PARTITIONS, requests } from '../tower-log.ts'
import type { OpenKafkaBench } from './broker-bench.ts'
import { until } from './members.ts'

const INTERVAL_MS = DEFAULT_TUNING.commit_interval_ms
/** Scenes are appended in one transaction per tick. */
const TICK_MS = 100
const PATIENCE_MS = 300_000
/** Scenes that are made beforehand, per second of the run, so that making them is not measured. */
const MOST_PER_SECOND = 500

/**
 * Time from the commit of a scene and its request, for sixteen completions, until its rows are visible in
 * `tower.completions_scored` of DuckDB. `plumbline run --no-sink` has its own process; the sink is in this one. A
 * burst measures the highest rate, until its groups are in DuckDB too; the latency is measured at half of that rate.
 */
export const open: OpenKafkaBench = async ({ bootstrap, quick }) => {
  const folder = await benchFolder()
  const address = `kafka://${bootstrap}/latency-${Date.now()}`
  const log = await openKafkaLog({ address })
  const dir = folder.fresh('data')
  const burst = quick ? 40 : 1_500
  const seconds = quick ? 2 : 40
  let intervals: number[] = []
  let rate = 0
  const at = async (quantile: number) => {
    if (intervals.length === 0) ({ intervals, rate } = await latencies(log, address, dir, burst, seconds))
    return [intervals[Math.min(intervals.length - 1, Math.floor(quantile * intervals.length))] as number]
  }
  return {
    measures: [],
    gauges: [
      {
        what: 'scene to row in DuckDB at half of the reachable rate, 99th percentile',
        unit: `commit intervals of ${INTERVAL_MS} ms`,
        goal: 5,
        values: () => at(0.99),
      },
      { what: 'the same, median', unit: 'commit intervals', values: () => at(0.5) },
      { what: 'reachable rate, of which half is offered', unit: 'scenes per second', values: async () => [rate] },
    ],
    async close() {
      await log.close()
      await folder.remove()
    },
  }
}

/** @returns sorted latencies in commit intervals, and the rate that was reached in the burst */
async function latencies(log: Log, address: string, dir: string, burst: number, seconds: number) {
  const args = ['--data', dir, '--log', address, 'run', '--no-sink', '--policy', 'random-legal']
  const run = spawn(process.execPath, [...process.execArgv, programFile(args), ...args], {
    stdio: ['ignore', 'ignore', 'ignore'],
  })
  const seen = new Map<string, number>()
  const formed = new Map<string, number>()
  let sink: DuckDbSink | undefined
  const stop = new AbortController()
  let loading: Promise<void> | undefined
  try {
    await topicsAreThere(log, run)
    let changed = false
    sink = await openDuckDbSink({
      file: `${dir}/plumbline.duckdb`,
      log,
      catalogue,
      views,
      serve: false,
      poll_ms: 20,
      observe: (stage) => {
        if (stage === 'committed') changed = true
      },
    })
    const watched = await watch(sink, { 'tower.completions_scored': seen, 'rollout.group_formed': formed })
    loading = sink.run(stop.signal)
    const producer = await log.producer({ transactional_id: 'latency' })
    // Look only after a commit: constant polling would take processor time from the programs that are measured.
    const looking = setInterval(() => {
      if (!changed) return
      changed = false
      void watched.look()
    }, 5)
    try {
      const scenes = await requests(2 * burst + seconds * MOST_PER_SECOND)
      // A scene and its request.
      const queue = [...Map.groupBy(scenes, ({ event }) => event.causes[0] ?? event.id).values()]
      // Warm-up: compiling code and filling caches is not measured.
      await offer(producer, queue.splice(0, Math.ceil(burst / 3)), formed)
      const began_ms = performance.now()
      await offer(producer, queue.splice(0, burst), formed)
      const rate = burst / ((performance.now() - began_ms) / 1e3)
      const sent = new Map<string, number>()
      const each = Math.max(1, Math.round((rate / 2) * (TICK_MS / 1e3)))
      for (let tick = 0; tick < (seconds * 1e3) / TICK_MS; tick++) {
        const due_ms = performance.now() + TICK_MS
        const now = queue.splice(0, each)
        await append(producer, now.flat())
        for (const group of idsOf(now)) sent.set(group, performance.now())
        await new Promise((resolve) => setTimeout(resolve, Math.max(0, due_ms - performance.now())))
      }
      await until(() => [...sent.keys()].every((group) => seen.has(group)), PATIENCE_MS, 'every scene has its rows')
      const intervals = [...sent].map(([group, sent_ms]) => ((seen.get(group) as number) - sent_ms) / INTERVAL_MS)
      return { intervals: intervals.sort((a, b) => a - b), rate }
    } finally {
      clearInterval(looking)
      await watched.close()
    }
  } finally {
    stop.abort()
    await loading
    await sink?.close()
    run.kill('SIGTERM')
    if (run.exitCode === null) await once(run, 'exit')
  }
}

async function topicsAreThere(log: Log, run: ChildProcess): Promise<void> {
  for (let waited_ms = 0; ; waited_ms += 100) {
    if (run.exitCode !== null) throw new Error(`plumbline run ended with ${run.exitCode}`)
    if ((await log.topics()).length >= catalogue.length) return
    if (waited_ms > 60_000) throw new Error('plumbline run made no topics within 60 s')
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

const idsOf = (groups: readonly (readonly Emitted[])[]) =>
  groups.flatMap((emitted) => emitted.filter(isRequest).map(({ event }) => event.key))

/** Appends all of them and waits until their groups, the last events that follow, are visible. */
async function offer(
  producer: Producer,
  groups: readonly (readonly Emitted[])[],
  formed: ReadonlyMap<string, number>,
): Promise<void> {
  for (let at = 0; at < groups.length; at += 100) await append(producer, groups.slice(at, at + 100).flat())
  const ids = idsOf(groups)
  await until(() => ids.every((id) => formed.has(id)), PATIENCE_MS, 'every scene of the burst has its group')
}

async function append(
  producer: Producer,
  events: readonly { readonly type: Emitted['type']; readonly event: Event }[],
): Promise<void> {
  const transaction = producer.begin()
  for (const { type, event } of events) {
    const { key, headers, value } = encodeEvent(type, event)
    transaction.append(type.type, partitionOf(event.key, PARTITIONS), { key, headers, value })
  }
  await transaction.commit()
}

/** Records, for each table, when the first row of a group becomes visible. */
async function watch(sink: DuckDbSink, tables: Readonly<Record<string, Map<string, number>>>) {
  const connection = await sink.connect()
  const watched = Object.entries(tables).map(([table, seen]) => ({ table, seen, last: -1n }))
  let looking: Promise<void> | undefined
  const look = async () => {
    for (const at of watched) {
      const found = await connection.runAndReadAll(
        `select rowid, group_id from ${at.table} where rowid > ${at.last} and "row" = 0`,
      )
      const now_ms = performance.now()
      for (const [row, group] of found.getRows()) {
        if (!at.seen.has(String(group))) at.seen.set(String(group), now_ms)
        if (BigInt(String(row)) > at.last) at.last = BigInt(String(row))
      }
    }
  }
  return {
    look(): Promise<void> {
      // One query at a time, then another: a running query may miss rows that are committed meanwhile.
      looking = (looking ?? Promise.resolve()).then(look)
      return looking
    },
    async close(): Promise<void> {
      await looking
      connection.disconnectSync()
    },
  }
}
