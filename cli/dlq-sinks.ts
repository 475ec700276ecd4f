import type { DataFolder } from '../pipeline/data-folder.ts'
import type { PositionPlaces } from '../pipeline/sink-positions.ts'
import { type ListedRecord, placeNameOf, rereadUnreadable, unreadableRecords } from '../pipeline/unreadable-records.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import { DatabaseBusyError } from '../sinks/duckdb/database-errors.ts'
import { SINK_KINDS } from '../sinks/kinds.ts'
import type { GlobalOptions } from './options.ts'
import { placesIn } from './sink-options.ts'
import { writeOut } from './write-out.ts'

/** The part of `dlq` that concerns records which sinks cannot read. */

/** @throws UsageError when `--processor` names a sink without its place */
export function sinksIn(options: { readonly processor?: string }, { data }: GlobalOptions): PositionPlaces {
  const places = placesIn(options)
  const kind = SINK_KINDS.find(({ name }) => name === options.processor)
  if (kind === undefined || places[kind.name] !== undefined) return { data, places }
  const { name, place } = kind
  throw new UsageError(`--processor ${name}: expected its ${place} too`, `add --${name} ${place.toUpperCase()}`)
}

/** Records that sinks cannot read, unless another reader was named. A busy owner is reported and is no failure. */
export async function* lackingFor(processor: string | undefined, sinks: PositionPlaces, others: Set<string>) {
  try {
    for await (const record of unreadableRecords(sinks)) {
      if (processor === undefined || processor === record.sink) yield record
      else others.add(record.sink)
    }
  } catch (error) {
    if (!(error instanceof DatabaseBusyError)) throw error
    process.stderr.write(`plumbline: what the tables lack is not listed: ${(error as Error).message}\n`)
  }
}

export const isPlace = (text: string) => text.includes('/')

/** What each sink that cannot read the record lists. @throws UsageError when none does */
export async function lackingAt(sinks: PositionPlaces, text: string): Promise<[ListedRecord, ...ListedRecord[]]> {
  const found: ListedRecord[] = []
  for await (const record of unreadableRecords(sinks)) if (placeNameOf(record) === text) found.push(record)
  const [first, ...rest] = found
  if (first === undefined) throw new UsageError(`${text}: no sink lists such a record`, 'see ./plumbline dlq list')
  return [first, ...rest]
}

/** @returns how many are still unreadable */
export async function retryLacking(
  lacking: readonly ListedRecord[],
  folder: DataFolder,
  sinks: PositionPlaces,
  { json }: GlobalOptions,
): Promise<number> {
  if (lacking.length === 0) return 0
  const nameOf = (record: ListedRecord) => `${placeNameOf(record)} of ${record.sink}`
  const reread = new Map<string, boolean>()
  for (const sink of new Set(lacking.map(({ sink }) => sink)))
    reread.set(sink, await rereadUnreadable(sink, folder, sinks.places))
  const left = new Map<string, string>()
  for await (const record of unreadableRecords(sinks)) left.set(nameOf(record), record.error)
  let refused = 0
  for (const record of lacking) {
    const name = nameOf(record)
    const reason = left.get(name)
    const is_ours = reread.get(record.sink) === true
    const outcome = reason === undefined ? 'loaded' : is_ours ? 'refused' : 'waiting'
    if (outcome === 'refused') refused++
    const wait = 'the run that loads reads it again by itself within a minute'
    const text = reason === undefined ? 'loaded' : is_ours ? `refused: ${reason}` : `${wait}; now: ${reason}`
    const found = { number: placeNameOf(record), processor: record.sink, outcome, reason }
    await writeOut(json ? `${JSON.stringify(found)}\n` : `${name}: ${text}\n`)
  }
  return refused
}

/** `processor` is the reader, the sink, as in a dead letter it is the processor. */
export function summaryOfLacking(record: ListedRecord) {
  const { sink, topic, partition, offset, ce_id, error } = record
  const place = { topic, partition, offset: String(offset) }
  return { number: placeNameOf(record), processor: sink, failure: 'unreadable', ...place, error, ce_id, retried: false }
}

export function lineOfLacking(record: ListedRecord): string[] {
  const { sink, topic, partition, offset, error } = record
  return [placeNameOf(record), sink, 'unreadable', `${topic} p${partition}@${offset}`, '', '', shortened(error)]
}

/** The first line's worth of an error. */
export function shortened(error: string): string {
  const line = error.replaceAll(/\s+/g, ' ')
  return line.length > 90 ? `${line.slice(0, 89)}…` : line
}
