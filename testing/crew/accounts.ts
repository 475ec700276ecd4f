import type { Log } from '../../infra/log/port/log.ts'
import { DEAD_LETTERS_TOPIC, type DeadLetter } from '../../infra/runtime/internal/internal-topics.ts'
import { headerOf, readJson, readRange } from '../../infra/runtime/internal/json-records.ts'
import { blobsOf } from '../../pipeline/blob-stores.ts'
import { openLogForReading } from '../../pipeline/data-folder.ts'
import type { BlobRef } from '../../schemas/declare/logical-types.ts'
import { clockTicked } from '../../schemas/events/clock.ts'
import { catalogue } from '../../streams/vocabulary.ts'
import type { Ledger } from './ledger.ts'
import { type Checkpoint, PartitionDigest } from './partition-digest.ts'
import { type At, plumbline, plumblineOk, sql } from './program.ts'

export interface Accounts {
  /** Broken guarantees; empty when all is well. */
  readonly breaches: readonly string[]
  /** Counts, for the printed report. */
  readonly counts: Readonly<Record<string, number>>
}

/** Compares everything in a folder whose work is finished with what was sent. */
export async function accountsOf(at: At, ledger: Ledger, checkpoints: readonly Checkpoint[]): Promise<Accounts> {
  const breaches: string[] = []
  const counts: Record<string, number> = {}

  for (const table of ['rollout.requested', 'tower.scene_presented']) {
    const seed = table === 'rollout.requested' ? 'start."value"->>\'seed\'' : 'seed'
    const index = table === 'rollout.requested' ? '(start."value"->>\'index\')::INTEGER' : '"index"'
    const found = await sql<{ seed: string; n: number; indices: number }>(
      at,
      `select ${seed} as seed, count(*)::int as n, count(distinct ${index})::int as indices from ${table} group by all`,
    )
    breaches.push(...compare(table, ledger, found))
    counts[table] = found.reduce((sum, { n }) => sum + n, 0)
  }

  for (const { clock, fate, n } of await sql<{ clock: string; fate: string; n: number }>(at, FATES)) {
    counts[`groups, ${clock} clock, ${fate}`] = n
    if (!FINE.has(`${clock} ${fate}`)) breaches.push(`${n} groups of the ${clock} clock are ${fate}`)
  }

  const [check] = await sql<{ sampled: number; lost: number; ahead: number; holds: boolean }>(at, 'from funnel_check')
  counts['completions sampled'] = Number(check?.sampled)
  if (check?.holds !== true || Number(check.ahead) !== 0) breaches.push(`the funnel: ${JSON.stringify(check)}`)
  for (const { fate, n } of await sql<{ fate: string; n: number }>(
    at,
    'select fate, completions::int as n from funnel where completions > 0',
  )) {
    counts[`completions ${fate}`] = n
    if (fate === 'duplicate' || fate === 'pending_unread') breaches.push(`the funnel: ${n} completions are ${fate}`)
  }

  breaches.push(...(await behind(at)))
  const verified = await plumbline(at, ['verify', '--tables'])
  if (verified.code !== 0) breaches.push(`verify: ${verified.stdout}${verified.stderr}`.trim())

  breaches.push(...(await missingPictures(at, counts)))

  const log = await openLogForReading({ data: at.data, ...(at.log ? { log: at.log } : {}) })
  try {
    breaches.push(...(await twiceOrMissing(log, at, counts)))
    breaches.push(...(await otherThanRead(log, checkpoints)))
    breaches.push(...(await wrongDeadLetters(log, counts)))
  } finally {
    await log.close()
  }
  counts['places of a reader looked at again'] = checkpoints.length
  return { breaches, counts }
}

/** Only wall-clock requests may expire during a fault, or become dead letters when the clock jumps by a day. */
const FINE = new Set(['virtual formed', 'wall formed', 'wall expired', 'wall dead'])

const FATES = `
  with formed as (
    select group_id, count(*) as n, count(distinct completion_index) as indices, count(distinct ce_id) as events
    from rollout.group_formed group by all
  ),
  expired as (select group_id, count(*) as n from rollout.group_expired group by all),
  dead as (select distinct ce_id from internal.dead_letters)
  select asked.deadline.clock as clock,
    case
      when formed.n is not null and expired.n is not null then 'formed and expired'
      when formed.n = group_size and formed.indices = group_size and formed.events = 1 then 'formed'
      when formed.n is not null then 'formed of a part, or twice'
      when expired.n = 1 then 'expired'
      when expired.n > 1 then 'expired twice'
      when dead.ce_id is not null then 'dead'
      else 'lost'
    end as fate,
    count(*)::int as n
  from rollout.requested as asked
  left join formed using (group_id) left join expired using (group_id) left join dead on dead.ce_id = asked.ce_id
  group by all`

function compare(
  table: string,
  ledger: Ledger,
  found: readonly { readonly seed: string; readonly n: number; readonly indices: number }[],
): string[] {
  const breaches = found
    .filter(({ seed, n, indices }) => ledger.get(seed) !== n || indices !== n)
    .map(({ seed, n, indices }) => {
      return `${table} of seed ${seed}: expected ${ledger.get(seed) ?? 'none'}, found ${n} of ${indices} scenes`
    })
  const seeds = new Set(found.map(({ seed }) => seed))
  const missing = [...ledger.keys()].filter((seed) => !seeds.has(seed))
  return [...breaches, ...missing.map((seed) => `${table} of seed ${seed}: expected ${ledger.get(seed)}, found none`)]
}

/** Every reader must have zero lag after `run --until-idle`. */
async function behind(at: At): Promise<string[]> {
  const { groups } = JSON.parse(await plumblineOk(at, ['lag', '--json'])) as {
    readonly groups: readonly { readonly group: string; readonly messages: number }[]
  }
  return groups
    .filter(({ messages }) => messages !== 0)
    .map(({ group, messages }) => `${group} has not read ${messages} messages`)
}

/** A blob is stored before the log refers to it, so every blob that the log refers to must exist. */
async function missingPictures(at: At, counts: Record<string, number>): Promise<string[]> {
  const blobs = blobsOf({ data: at.data })
  const pictures = await sql<BlobRef>(
    at,
    'select distinct image.sha256, image.bytes::int as bytes, image.media_type from tower.scene_presented',
  )
  counts.pictures = pictures.length
  const breaches: string[] = []
  for (const picture of pictures) {
    if (!(await blobs.has(picture))) breaches.push(`picture ${picture.sha256} is named by the log and not there`)
  }
  return breaches
}

/** Each event must be in the log once, and in its table. */
async function twiceOrMissing(log: Log, at: At, counts: Record<string, number>): Promise<string[]> {
  const breaches: string[] = []
  const tables = await sql<{ type: string; n: number; doubled: number }>(
    at,
    catalogue
      .map(
        ({ type }) =>
          `select '${type}' as type, count(distinct ce_id)::int as n,
            (count(*) - count(distinct (ce_id, "row")))::int as doubled from ${type}`,
      )
      .join(' union all '),
  )
  for (const { type } of catalogue) {
    const times = new Map<string, number>()
    const { length } = await log.endOffsets(type)
    for (let partition = 0; partition < length; partition++) {
      for await (const record of readRange(log, type, partition, 0n)) {
        const id = headerOf(record, 'ce_id') ?? ''
        times.set(id, (times.get(id) ?? 0) + 1)
      }
    }
    counts[`events ${type}`] = times.size
    const copies = type === clockTicked.type ? length : 1
    const wrong = [...times].filter(([, n]) => n % copies !== 0 || n / copies > 1)
    // Two processes may emit a tick of the same time: it is the same event, and ticks are not an output.
    if (wrong.length > 0 && type !== clockTicked.type) {
      breaches.push(`${type}: ${wrong.length} events are in the log more than once, e.g. ${wrong[0]?.join(', ')} times`)
    }
    const loaded = tables.find((table) => table.type === type)
    if (loaded?.n !== times.size) breaches.push(`${type}: the log holds ${times.size} events, DuckDB ${loaded?.n}`)
    if (loaded?.doubled !== 0) breaches.push(`${type}: ${loaded?.doubled} rows are in DuckDB more than once`)
  }
  return breaches
}

/** The log below each checkpoint must be what the reader saw: no record inserted, none removed. */
async function otherThanRead(log: Log, checkpoints: readonly Checkpoint[]): Promise<string[]> {
  const breaches: string[] = []
  const places = Map.groupBy(checkpoints, ({ topic, partition }) => `${topic}/${partition}`)
  for (const [place, noted] of places) {
    const { topic, partition } = noted[0] as Checkpoint
    const wanted = noted.map((one) => ({ ...one, next: BigInt(one.next) })).sort((a, b) => Number(a.next - b.next))
    const digest = new PartitionDigest()
    const end = wanted.at(-1)?.next ?? 0n
    const check = (upTo: bigint) => {
      for (let first = wanted[0]; first !== undefined && first.next <= upTo; first = wanted[0]) {
        wanted.shift()
        if (digest.soFar() === first.digest) continue
        breaches.push(`${place}: below offset ${first.next} a reader saw something else than what is there now`)
      }
    }
    for await (const record of readRange(log, topic, partition, 0n, end)) {
      check(record.offset)
      digest.add(record)
    }
    check(end)
  }
  return breaches
}

/** The only dead letters allowed are records timed far ahead of a clock that has jumped back. */
async function wrongDeadLetters(log: Log, counts: Record<string, number>): Promise<string[]> {
  const breaches: string[] = []
  let count = 0
  const { length } = await log.endOffsets(DEAD_LETTERS_TOPIC)
  for (let partition = 0; partition < length; partition++) {
    for await (const record of readRange(log, DEAD_LETTERS_TOPIC, partition, 0n)) {
      const { processor, topic, offset, error } = readJson<DeadLetter>(record)
      count++
      if (/ahead of this host's clock/.test(error)) continue
      breaches.push(`a dead letter of ${processor}: ${topic} partition ${partition} offset ${offset}: ${error}`)
    }
  }
  counts['dead letters'] = count
  return breaches
}
