/**
 * One of several workers on the peers' job, in a process of its own that can be killed: `node member-process.ts LOG RUN
 * SESSION_MS`. Restores its partitions but reads no records before it is told to go; reports restores and commits.
 */
import { openKafkaLog } from '../../infra/log/kafka/kafka-log.ts'
import { Worker } from '../../infra/runtime/work/worker.ts'
import { catalogueOf } from '../../schemas/declare/registry.ts'
import { noBlobs, PARTITIONS } from '../tower-log.ts'
import { gated } from './gated-log.ts'
import { groupRewards } from './group-rewards.ts'

export type MemberSays =
  | { readonly says: 'restored'; readonly partition: number }
  | { readonly says: 'committed'; readonly records: number }

const [address = '', run = '', session_ms = ''] = process.argv.slice(2)
const stop = new AbortController()
process.on('disconnect', () => process.exit(1))
process.on('SIGTERM', () => stop.abort())

const say = (message: MemberSays) => process.send?.(message)
const log = await openKafkaLog({ address, transaction_timeout_ms: Math.min(10_000, Number(session_ms)) })
const gate = gated(log, PARTITIONS)
process.on('message', () => gate.open())
const processor = groupRewards(run)
const worker = new Worker({
  log: gate.log,
  blobs: noBlobs,
  processor,
  vocabulary: catalogueOf([...processor.inputs, ...processor.outputs]),
  partitions: PARTITIONS,
  instance: String(process.pid),
  tuning: { session_timeout_ms: Number(session_ms) },
  onEvent(event) {
    if (event.kind === 'retrying') process.stderr.write(`${event.error.stack}\n`)
    if (event.kind === 'restored') say({ says: 'restored', partition: event.partition })
    if (event.kind === 'committed') say({ says: 'committed', records: event.records })
  },
})
await worker.run(stop.signal)
await log.close()
process.exit(0)
