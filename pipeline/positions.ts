import type { Log } from '../infra/log/port/log.ts'
import { listed, type Misplaced, misplacedIn } from '../infra/runtime/state/misplaced.ts'
import { resetProcessor } from '../infra/runtime/state/reset-positions.ts'
import { misplacedOf } from '../infra/runtime/state/task-positions.ts'
import { ResumingProducer } from '../infra/runtime/work/resuming-producer.ts'
import type { Partitions } from '../schemas/wire/partitions.ts'
import { SINK_KINDS } from '../sinks/kinds.ts'
import { processorsOf } from '../streams/describe.ts'
import type { DataFolder } from './data-folder.ts'
import { type PositionPlaces, positionsOfSinks } from './sink-positions.ts'
import { SINK } from './unreadable-records.ts'
import { UsageError } from './usage-error.ts'
import { prepareLog, wiringOf, wiringOn } from './wiring.ts'

/** A reader, how many positions it has, those that do not belong to this log, and how to start over. */
export interface Reader {
  readonly reader: string
  readonly positions: number
  readonly misplaced: readonly Misplaced[]
  readonly remedy: string
}

/** Every processor, and every sink that has stored positions. */
export async function readersOf(log: Log, places: PositionPlaces): Promise<Reader[]> {
  const readers: Reader[] = []
  for (const processor of processorsOf(await wiringOf({}))) {
    const { length } = await log.committed(processor.name)
    const remedy = `./plumbline positions reset --only ${processor.name}`
    readers.push({ reader: processor.name, positions: length, misplaced: await misplacedOf(log, processor), remedy })
  }
  for (const { name, positions, remedy } of await positionsOfSinks(places)) {
    const misplaced = await misplacedIn(log, positions)
    readers.push({ reader: name, positions: positions.length, misplaced, remedy })
  }
  return readers
}

/** Warns that a reader's positions belong to another log, and what to do; undefined if none do. */
export function warningOf({ reader, misplaced, remedy }: Reader): string | undefined {
  if (misplaced.length === 0) return undefined
  return `${reader} cannot continue in this log: ${listed(misplaced)}. To restart: ${remedy}`
}

/** A reader that starts over. */
export type Begun =
  | { readonly reader: string; readonly positions: number; readonly keys: number }
  | { readonly source: string; readonly steps: readonly bigint[] }

/**
 * Makes readers start over at the beginning of their topics; a fold's state is dropped.
 *
 * @param only processors, and sources by the name in their error (`source/…`); when left out, those that cannot
 *   continue in this log
 * @throws UsageError when there is no such reader
 */
export async function resetReaders(
  folder: DataFolder,
  { partitions, only }: { readonly partitions?: Partitions; readonly only?: readonly string[] | undefined },
): Promise<Begun[]> {
  const { log } = folder
  const wiring = await wiringOn(folder, { partitions })
  await prepareLog(folder, wiring)
  const processors = processorsOf(wiring)
  const names = only ?? []
  const unknown = names.find((name) => !name.startsWith('source/') && !processors.some((one) => one.name === name))
  if (unknown === SINK)
    throw new UsageError(`--only ${SINK}: its positions are in its file`, `delete ${folder.duckdb_file}`)
  const kind = SINK_KINDS.find(({ name }) => name === unknown)
  if (kind !== undefined) {
    const { name, place } = kind
    throw new UsageError(`--only ${name}: its positions are in its ${place}`, `remove the ${place} of run --${name}`)
  }
  if (unknown !== undefined) {
    const known = processors.map(({ name }) => name).join(', ')
    throw new UsageError(`--only ${unknown}: no such reader`, `there are ${known}, and sources: source/…`)
  }
  const begun: Begun[] = []
  for (const processor of processors) {
    const { name } = processor
    if (only === undefined ? (await misplacedOf(log, processor)).length === 0 : !names.includes(name)) continue
    begun.push({ reader: name, ...(await resetProcessor(log, processor)) })
  }
  for (const name of names.filter((name) => name.startsWith('source/'))) begun.push(await resetSource(log, name))
  return begun
}

async function resetSource(log: Log, group: string): Promise<Begun> {
  const producer = await ResumingProducer.open(log, { transactional_id: group, group })
  try {
    const steps = producer.positions.map(({ next }) => next)
    if (steps.length === 0) throw new UsageError(`--only ${group}: it has brought nothing in here`, 'look at its name')
    await producer.commit(
      () => {},
      producer.positions.map(({ topic, partition }) => ({ topic, partition, next: 0n })),
    )
    return { source: group, steps }
  } finally {
    await producer.close()
  }
}
