import type { Command } from 'commander'
import type { Log } from '../infra/log/port/log.ts'
import { listed, type Misplaced, misplacedIn } from '../infra/runtime/state/misplaced.ts'
import { resetProcessor } from '../infra/runtime/state/reset-positions.ts'
import { misplacedOf } from '../infra/runtime/state/task-positions.ts'
import { ResumingProducer } from '../infra/runtime/work/resuming-producer.ts'
import { processorsOf } from '../streams/describe.ts'
import { type DataFolder, openDataFolder, openLogForReading } from './data-folder.ts'
import { type GlobalOptions, globals } from './options.ts'
import { prepareLog, wiringOf, wiringOn } from './pipeline.ts'
import { number } from './progress.ts'
import { JSONL, positionsOfSinks, type SinkPlaces } from './sink-positions.ts'
import { textTable } from './text-table.ts'
import { UsageError } from './usage-error.ts'
import { writeOut } from './write-out.ts'

/** The DuckDB sink, which is listed with the processors. */
const SINK = 'duckdb'

/** A reader, how many positions it has, those that do not belong to this log, and how to begin anew. */
export interface Reader {
  readonly reader: string
  readonly positions: number
  readonly misplaced: readonly Misplaced[]
  readonly remedy: string
}

export function addPositions(program: Command): void {
  const positions = program
    .command('positions')
    .description('whether what each reader has read is what this log holds, and to begin anew where it is not')
  positions
    .command('list')
    .description('every reader; exit 1 when one cannot go on: its topic was deleted and made again, or is a copy')
    .option(...JSONL)
    .action(async ({ jsonl }: { jsonl?: string }, command: Command) => {
      const global = globals(command)
      const log = await openLogForReading(global)
      try {
        const readers = await readersOf(log, { data: global.data, jsonl })
        await writeOut(global.json ? `${JSON.stringify(readers.map(jsonOf))}\n` : tableOf(readers))
        if (readers.some(({ misplaced }) => misplaced.length > 0)) process.exitCode = 1
      } finally {
        await log.close()
      }
    })
  positions
    .command('reset')
    .description('makes readers begin at the beginning of their topics: those that cannot go on, or those named')
    .option('--only <name...>', 'these processors, and sources as they are named where they stop (source/…)')
    .addHelpText(
      'after',
      '\nOf a processor that folds, the state is dropped; a policy over HTTP keeps what was answered. What a reader has\n' +
        'emitted stays in the log: from records that are still there it emits the same events, which count once, and\n' +
        'verify leaves out what lies before the reset. Stop every run first. To keep the former outputs apart, make a\n' +
        'new pipeline of the sources instead: ./plumbline replay --sources-only --to DIR\n',
    )
    .action(async ({ only }: { only?: string[] }, command: Command) => {
      const global = globals(command)
      const folder = await openDataFolder(global, { create: false })
      try {
        const lines = await reset(folder, global, only)
        if (global.json) process.stdout.write(`${JSON.stringify(lines)}\n`)
        else for (const line of lines) process.stdout.write(`${line}\n`)
      } finally {
        await folder.close()
      }
    })
}

/** Every processor, and every sink that has stored positions. */
export async function readersOf(log: Log, places: SinkPlaces): Promise<Reader[]> {
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
  return `${reader} cannot go on in this log: ${listed(misplaced)}. To begin anew: ${remedy}`
}

function tableOf(readers: readonly Reader[]): string {
  const lines = readers.map(({ reader, positions, misplaced }) => [
    reader,
    number(positions),
    misplaced.length === 0 ? 'in this log' : `NOT IN THIS LOG: ${listed(misplaced)}`,
  ])
  return textTable([{ name: 'reader' }, { name: 'positions', right: true }, { name: '' }], lines)
}

function jsonOf({ reader, positions, misplaced }: Reader) {
  return {
    reader,
    positions,
    misplaced: misplaced.map(({ position: { topic, partition, next }, why }) => {
      return { topic, partition, next: Number(next), why }
    }),
  }
}

async function reset(
  folder: DataFolder,
  global: GlobalOptions,
  only: readonly string[] | undefined,
): Promise<string[]> {
  const { log } = folder
  const wiring = await wiringOn(folder, global)
  await prepareLog(folder, wiring)
  const processors = processorsOf(wiring)
  const names = only ?? []
  const unknown = names.find((name) => !name.startsWith('source/') && !processors.some((one) => one.name === name))
  if (unknown === SINK)
    throw new UsageError(`--only ${SINK}: its positions lie in its file`, `delete ${folder.duckdb_file}`)
  if (unknown === 'jsonl')
    throw new UsageError('--only jsonl: its positions lie in its folder', 'remove the folder of run --jsonl')
  if (unknown !== undefined) {
    const known = processors.map(({ name }) => name).join(', ')
    throw new UsageError(`--only ${unknown}: no such reader`, `there are ${known}, and sources: source/…`)
  }
  const lines: string[] = []
  for (const processor of processors) {
    const { name } = processor
    if (only === undefined ? (await misplacedOf(log, processor)).length === 0 : !names.includes(name)) continue
    const { positions, keys } = await resetProcessor(log, processor)
    const dropped = keys === 0 ? '' : `; the state of ${number(keys)} keys was dropped`
    lines.push(`${name} begins anew: ${number(positions)} positions${dropped}`)
  }
  for (const name of names.filter((name) => name.startsWith('source/'))) lines.push(await resetSource(log, name))
  return lines.length > 0 ? lines : ['nothing to reset: every processor goes on in this log']
}

async function resetSource(log: Log, group: string): Promise<string> {
  const producer = await ResumingProducer.open(log, { transactional_id: group, group })
  try {
    const steps = producer.positions.map(({ next }) => next)
    if (steps.length === 0) throw new UsageError(`--only ${group}: it has brought nothing in here`, 'look at its name')
    await producer.commit(
      () => {},
      producer.positions.map(({ topic, partition }) => ({ topic, partition, next: 0n })),
    )
    return `${group} begins anew: it had brought in ${steps.join(', ')} steps`
  } finally {
    await producer.close()
  }
}
