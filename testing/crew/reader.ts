/**
 * Scans the log for ever, effects before their causes, and reports what it has seen: `node reader.ts DATA`.
 *
 * A cause is committed before its effect or together with it. So once an effect has been read, its causes must be found
 * in the topics that are read after it. An open transaction that is visible in part breaks that. On Kafka the end of a
 * transaction reaches its partitions one after another, so a cause may appear a little later than its effect.
 */
import { headerOf } from '../../infra/runtime/internal/json-records.ts'
import { sleep } from '../../infra/sleep.ts'
import { openData } from './data.ts'
import { belongToStarter, say } from './message.ts'
import { type Checkpoint, PartitionDigest } from './partition-digest.ts'

/** Outcomes first, sources last. */
const ORDER = [
  'rollout.group_formed',
  'rollout.group_expired',
  'rollout.completion_rejected',
  'tower.completions_scored',
  'policy.completions_sampled',
  'rollout.requested',
  'tower.scene_presented',
]

/** How much later than its effect a cause may appear: 0, or as long as a partition of a cluster may have no leader. */
const LATE_MS = process.env.PLUMBLINE_LOG === undefined ? 0 : 60_000

interface Scan {
  next: bigint
  last: bigint
  readonly digest: PartitionDigest
}

const [data = ''] = process.argv.slice(2)
const stop = new AbortController()
process.on('SIGTERM', () => stop.abort())
belongToStarter()

const { log, close } = await openData(data, 'read')
const scans = new Map<string, Scan>()
/** Causes that have not been found yet. */
const missing = new Map<string, { readonly effect: string; readonly since_ms: number }>()
const seen = new Set<string>()

/** Reads the new records of a partition and adds their causes to `causes`. @returns a checkpoint if there were any */
async function scan(topic: string, partition: number, causes: Map<string, string>): Promise<Checkpoint | undefined> {
  const place = `${topic}/${partition}`
  const at = scans.get(place) ?? { next: 0n, last: -1n, digest: new PartitionDigest() }
  scans.set(place, at)
  const before = at.next
  for (;;) {
    const { records, next } = await log.read({ topic, partition, from: at.next, max_bytes: 1_000_000 })
    for (const record of records) {
      if (record.offset <= at.last || record.offset < at.next || record.offset >= next) {
        const message = `${place}: offset ${record.offset} after ${at.last}, read from ${at.next} to ${next}`
        say({ says: 'breach', message: `order within a partition: ${message}` })
      }
      at.last = record.offset
      at.digest.add(record)
      const id = headerOf(record, 'ce_id')
      if (id === undefined) continue
      seen.add(id)
      for (const cause of headerOf(record, 'ce_causationid')?.split(',') ?? []) {
        causes.set(cause, `${id} at ${place} offset ${record.offset}`)
      }
    }
    if (next === at.next) break
    at.next = next
  }
  return at.next === before ? undefined : { topic, partition, next: String(at.next), digest: at.digest.soFar() }
}

while (!stop.signal.aborted) {
  const topics = await log.topics()
  const rest = topics.filter(({ name }) => !ORDER.includes(name))
  const inOrder = ORDER.flatMap((name) => topics.filter((topic) => topic.name === name))
  const causes = new Map<string, string>()
  const checkpoints: Checkpoint[] = []
  for (const { name, partitions } of [...rest, ...inOrder]) {
    for (let partition = 0; partition < partitions; partition++) {
      const checkpoint = await scan(name, partition, causes)
      if (checkpoint !== undefined) checkpoints.push(checkpoint)
    }
  }
  const now_ms = performance.now()
  for (const [cause, effect] of causes) missing.set(cause, { effect, since_ms: now_ms })
  for (const [cause, { effect, since_ms }] of missing) {
    if (seen.has(cause)) missing.delete(cause)
    if (seen.has(cause) || now_ms - since_ms < LATE_MS) continue
    missing.delete(cause)
    say({ says: 'breach', message: `an effect without its cause: ${effect} names ${cause}, which is not there` })
  }
  say({ says: 'scanned', records: seen.size, checkpoints })
  await sleep(200, stop.signal)
}
await close()
