import { setTimeout as wait } from 'node:timers/promises'
import type { Command } from 'commander'
import type { Blobs } from '../infra/blobs/blobs.ts'
import type { Log, LogRecord } from '../infra/log/port/log.ts'
import { decodeRecord } from '../infra/runtime/execute/decode-record.ts'
import { mergeRanges, type Range } from '../infra/runtime/rebuild/merge-ranges.ts'
import { type PlainEvent, plainEvent, plainPlace } from '../infra/runtime/watch/plain-event.ts'
import { blobsOf } from '../pipeline/blob-stores.ts'
import { openLogForReading } from '../pipeline/data-folder.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import type { Catalogue } from '../schemas/declare/registry.ts'
import { PoisonError } from '../schemas/wire/codec.ts'
import { vocabulary } from '../streams/vocabulary.ts'
import { type Condition, condition, eventLines, onlyWhere, refuseUnknownFields } from './event-rows.ts'
import { globals, stopSignal, wholeNumber } from './options.ts'
import { writeOut } from './write-out.ts'

const POLL_MS = 100

interface TailOptions {
  follow: boolean
  from?: string
  limit?: number
  where: Condition[]
  key?: string
  width: number
}

export function addTail(command: Command): void {
  command
    .option('-f, --follow', 'wait for new events, until Ctrl-C', false)
    .option(
      '--from <where>',
      'beginning, end, or an offset for every partition (default: beginning; with --follow: end)',
    )
    .option('--limit <n>', 'stop after this number of events', wholeNumber('limit', 1, Number.MAX_SAFE_INTEGER))
    .option(
      '--where <field=value>',
      'only rows with this value; may be repeated',
      (text: string, before: Condition[]) => [...before, condition(text)],
      [] as Condition[],
    )
    .option('--key <key>', 'only events with this key')
    .option('--width <characters>', 'most characters shown of a value', wholeNumber('width', 2, 1_000_000), 60)
    .addHelpText(
      'after',
      '\nNested fields: --where start.value.dataset=side_block. Envelope fields: ce_source, ce_time, ce_id, …\n' +
        'With --json, one line per event. Internal topics can be printed too:\n' +
        'dead_letters, _journal.form-groups, _changelog.form-groups.\n' +
        '\nExample:\n  ./plumbline tail tower.completions_scored --where outcome=stable --limit 3\n',
    )
    .action(async (name: string, options: TailOptions, command: Command) => {
      const global = globals(command)
      const known = vocabulary.get(name)
      if (known !== undefined) refuseUnknownFields(known, options.where)
      const log = await openLogForReading(global)
      const stop = stopSignal({ silent: true })
      try {
        const events = tail(log, blobsOf(global), await knownTopic(log, name), { ...options, vocabulary }, stop)
        for await (const event of events) {
          await writeOut(global.json ? `${JSON.stringify(event)}\n` : eventLines(event, options.width))
        }
      } finally {
        await log.close()
      }
    })
}

async function knownTopic(log: Log, name: string): Promise<string> {
  const names = (await log.topics()).map((topic) => topic.name)
  if (names.includes(name)) return name
  const event = vocabulary.get(name) !== undefined
  throw new UsageError(
    event ? `${name}: no event of this type in ${log.address}` : `${name}: no such event or topic`,
    `there are ${names.filter((known) => !known.startsWith('_')).join(', ') || 'none yet'}`,
  )
}

/** The events of a topic in the order of their append times; then, when following, new ones as they are appended. */
export async function* tail(
  log: Log,
  blobs: Blobs,
  topic: string,
  options: Pick<TailOptions, 'follow' | 'from' | 'limit' | 'where' | 'key'> & { readonly vocabulary: Catalogue },
  signal: AbortSignal,
): AsyncGenerator<PlainEvent> {
  let left = options.limit ?? Number.POSITIVE_INFINITY
  let positions = await startOf(log, topic, options)
  while (!signal.aborted) {
    const ends = await log.endOffsets(topic)
    const ranges: Range[] = positions.map((from, partition) => ({
      topic,
      partition,
      from,
      to: ends[partition] ?? from,
    }))
    for await (const record of mergeRanges(log, ranges, ({ appended_ms }) => appended_ms)) {
      if (signal.aborted) return
      if (options.key !== undefined && record.key !== options.key) continue
      const event = onlyWhere(await readable(record, blobs, ends.length, options.vocabulary), options.where)
      if (event === undefined) continue
      yield event
      if (--left === 0) return
    }
    if (!options.follow) return
    positions = positions.map((from, partition) =>
      (ends[partition] ?? 0n) > from ? (ends[partition] as bigint) : from,
    )
    await wait(POLL_MS, undefined, { signal }).catch(() => {})
  }
}

async function startOf(log: Log, topic: string, { from, follow }: Pick<TailOptions, 'from' | 'follow'>) {
  const begins = await log.beginningOffsets(topic)
  const where = from ?? (follow ? 'end' : 'beginning')
  if (where === 'beginning') return begins
  if (where === 'end') return log.endOffsets(topic)
  if (!/^\d+$/.test(where)) {
    throw new UsageError(`--from ${where}: expected beginning, end or an offset`, 'e.g. --from 100')
  }
  return begins.map((begin) => (BigInt(where) > begin ? BigInt(where) : begin))
}

/** The record as plain JSON. An unreadable record gives the reason instead of an error, so that a listing continues. */
export async function readable(
  record: LogRecord,
  blobs: Blobs,
  partitions: number,
  vocabulary: Catalogue,
): Promise<PlainEvent> {
  const type = vocabulary.get(record.topic)
  if (type === undefined) return { ...plainPlace(record), ...internalRow(record) }
  try {
    return plainEvent(record, type, await decodeRecord(record, vocabulary, partitions, blobs, 'elements'))
  } catch (error) {
    if (!(error instanceof PoisonError)) throw error
    return { ...plainPlace(record), rows: [], unreadable: (error as PoisonError).message }
  }
}

function internalRow({ value }: LogRecord): Pick<PlainEvent, 'rows' | 'unreadable'> {
  if (value === null) return { rows: [{ forgotten: true }] }
  try {
    return { rows: [JSON.parse(Buffer.from(value).toString('utf8')) as Record<string, unknown>] }
  } catch {
    return { rows: [], unreadable: `expected JSON, got ${value.byteLength} other bytes` }
  }
}
