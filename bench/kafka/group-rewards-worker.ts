/**
 * The peers' job on Plumbline, in a separate process: the real worker with journal, changelog and snapshots. It reads
 * the same environment variables as the peers' programs and prints the same line.
 */

import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import type { Log, Member } from '../../infra/log/port/log.ts'
import { Worker } from '../../infra/runtime/work/worker.ts'
import { catalogueOf } from '../../schemas/declare/registry.ts'
import { noBlobs, PARTITIONS } from '../tower-log.ts'
import { groupRewards } from './group-rewards.ts'

const { BENCH_LOG: address = '', BENCH_RUN: run = '', BENCH_MESSAGES } = process.env
const wanted = Number(BENCH_MESSAGES)

let first_ms = Number.NaN
let first_cpu = process.cpuUsage()
let messages = 0
let groups = 0
let polled = 0
let commits = 0
let commit_ms = 0
let appended_ms = 0
const stop = new AbortController()

const log = await openKafkaLog({ address })
const processor = groupRewards(run)
const worker = new Worker({
  log: noting(log, (records) => {
    if (polled === 0) {
      first_ms = Date.now()
      first_cpu = process.cpuUsage()
    }
    polled += records
    // Stop at the last message, as the peers' programs do: its outputs are still committed.
    if (polled >= wanted) stop.abort()
  }),
  blobs: noBlobs,
  processor,
  vocabulary: catalogueOf([...processor.inputs, ...processor.outputs]),
  partitions: PARTITIONS,
  instance: 'bench',
  observe(stage) {
    if (stage === 'appended') appended_ms = performance.now()
    if (stage !== 'committed') return
    commits += 1
    commit_ms += performance.now() - appended_ms
  },
  onEvent(event) {
    if (event.kind === 'retrying') process.stderr.write(`${event.error.stack}\n`)
    // What a lost session has not committed is polled again.
    if (event.kind === 'left') polled = messages
    if (event.kind !== 'committed') return
    messages += event.records
    groups += event.outputs
    if (event.dead_letters > 0) throw new Error(`${event.dead_letters} dead letters`)
  },
})
await worker.run(stop.signal)
const seconds = (Date.now() - first_ms) / 1e3
const { user, system } = process.cpuUsage(first_cpu)
await log.close()
const cpu_seconds = (user + system) / 1e6
const told = { messages, groups, seconds, cpu_seconds, first_ms, commits, commit_seconds: commit_ms / 1e3 }
process.stdout.write(`${JSON.stringify(told)}\n`)

/** Wraps a log: reports how many records have arrived, before any of them is decoded. */
function noting(log: Log, arrived: (records: number) => void): Log {
  const bound = (target: object, name: string | symbol) => {
    const value = Reflect.get(target, name, target)
    return typeof value === 'function' ? value.bind(target) : value
  }
  const watched = (member: Member): Member =>
    new Proxy(member, {
      get: (target, name) =>
        name !== 'poll'
          ? bound(target, name)
          : async (options: Parameters<Member['poll']>[0]) => {
              const polled = await target.poll(options)
              if (polled.records.length > 0) arrived(polled.records.length)
              return polled
            },
    })
  return new Proxy(log, {
    get: (target, name) =>
      name === 'join'
        ? async (options: Parameters<Log['join']>[0]) => watched(await target.join(options))
        : bound(target, name),
  })
}
