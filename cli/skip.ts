import type { Command } from 'commander'
import { type Log, type LogRecord, OffsetGoneError } from '../infra/log/port/log.ts'
import { decodeRecord } from '../infra/runtime/execute/decode-record.ts'
import { asFold } from '../infra/runtime/execute/effect-fold.ts'
import { ForeignRecordError } from '../infra/runtime/internal/foreign-record.ts'
import { type Reading, readingOf } from '../infra/runtime/internal/internal-records.ts'
import { changelogTopic } from '../infra/runtime/internal/internal-topics.ts'
import { skipRecord } from '../infra/runtime/internal/skipped-records.ts'
import { changelogReading } from '../infra/runtime/state/state-store.ts'
import { PoisonError } from '../schemas/wire/codec.ts'
import { vocabulary } from '../streams/vocabulary.ts'
import { type DataFolder, openDataFolder } from './data-folder.ts'
import { globals } from './options.ts'
import { wiringOf } from './pipeline.ts'
import { UsageError } from './usage-error.ts'
import { writeOut } from './write-out.ts'

export function addSkip(program: Command): void {
  program
    .command('skip <place...>')
    .description('make every reader pass over a record that none can read, from now on and in copies of the log')
    .addHelpText(
      'after',
      '\nPLACE is TOPIC PARTITION OFFSET, as the error that names the record has it. The record stays in the log; a record\n' +
        'of _skipped says that it is skipped. A sound record is refused. Of a journal or changelog entry that was ours and is damaged, what it said is\n' +
        'lost: run ./plumbline verify afterwards, which also lists what is skipped. A skipped event, or what retention\n' +
        'removed, leaves the list of what the tables lack.\n',
    )
    .action(async (given: string[], _options: unknown, command: Command) => {
      const global = globals(command)
      const [topic = '', partition = '', offset = ''] = given
      if (given.length !== 3) {
        throw new UsageError(
          `skip ${given.join(' ')}: expected TOPIC PARTITION OFFSET`,
          'as the error that named the record has them',
        )
      }
      const folder = await openDataFolder(global, { create: false })
      try {
        const place = { topic, partition: numberOf('partition', partition), offset: BigInt(numberOf('offset', offset)) }
        const record = await recordAt(folder.log, place)
        const error = record === undefined ? 'retention removed it' : await faultOf(record, folder)
        const is_new = await skipRecord(folder.log, record ?? place, error)
        const outcome = is_new ? 'skipped' : 'already'
        const text = `${topic} partition ${partition} offset ${offset}: ${is_new ? 'skipped from now on' : 'was skipped before; nothing added'}`
        await writeOut(global.json ? `${JSON.stringify({ topic, partition, offset, outcome, error })}\n` : `${text}\n`)
      } finally {
        await folder.close()
      }
    })
}

function numberOf(what: string, text: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value
  throw new UsageError(`skip: ${what} ${text}: expected a whole number`, 'as the error that named the record says')
}

interface Place {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
}

/** @returns undefined where retention has removed it */
async function recordAt(log: Log, { topic, partition, offset }: Place): Promise<LogRecord | undefined> {
  const there = (await log.topics()).find(({ name }) => name === topic)
  if (there === undefined || partition >= there.partitions) {
    throw new UsageError(`skip: ${log.address} has no partition ${partition} of ${topic}`, 'see ./plumbline lag --json')
  }
  const page = await log.read({ topic, partition, from: offset, max_bytes: 1 }).catch((error: unknown) => {
    if (error instanceof OffsetGoneError && vocabulary.get(topic) !== undefined) return undefined
    throw error
  })
  const [record] = page?.records ?? []
  if (page !== undefined && record?.offset !== offset) {
    throw new UsageError(
      `skip: ${topic} partition ${partition} has no record at offset ${offset}`,
      `see ./plumbline tail ${topic}`,
    )
  }
  return record
}

/** Why no reader can read the record. @throws UsageError when it is readable */
async function faultOf(record: LogRecord, { log, blobs }: DataFolder): Promise<string> {
  const { topic, partition, offset } = record
  const partitions = (await log.endOffsets(topic)).length
  try {
    if (vocabulary.get(topic) === undefined) (await readingIn(topic))(record, partitions)
    else await decodeRecord(record, vocabulary, partitions, blobs)
  } catch (error) {
    if (error instanceof ForeignRecordError || error instanceof PoisonError) return (error as Error).message
    throw error
  }
  throw new UsageError(
    `skip: ${topic} partition ${partition} offset ${offset} is sound: it is read, and what follows from it would be missing`,
    'name the record that an error named',
  )
}

/**
 * How records of an internal topic are read. States of this release's processors are checked by their schema.
 * @throws UsageError for any other topic
 */
export async function readingIn(topic: string): Promise<Reading<unknown>> {
  const [, name] = topic.split(changelogTopic(''))
  const stage = (await wiringOf({})).stages.find((candidate) => candidate.name === name)
  const processor = stage?.create(stage.variant)
  if (processor?.shape === 'fold') return changelogReading(processor)
  if (processor?.shape === 'effect') return changelogReading(asFold(processor))
  const reading = readingOf(topic)
  if (reading !== undefined) return reading
  throw new UsageError(`skip: ${topic} is no topic that a reader of ours reads`, 'see ./plumbline topology')
}
