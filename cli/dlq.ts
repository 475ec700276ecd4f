import type { Command } from 'commander'
import type { Blobs } from '../infra/blobs/blobs.ts'
import type { Log, LogRecord } from '../infra/log/port/log.ts'
import {
  deadLetters,
  type FoundLetter,
  type Retried,
  rawValue,
  retryDeadLetter,
  wasRetried,
} from '../infra/runtime/rebuild/retry-dead-letter.ts'
import { blobsOf } from '../pipeline/blob-stores.ts'
import { openDataFolder, openLogForReading } from '../pipeline/data-folder.ts'
import { printableLine } from '../pipeline/text/terminal-text.ts'
import { textTable } from '../pipeline/text/text-table.ts'
import { type ListedRecord, recordAt } from '../pipeline/unreadable-records.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import { SINKS } from '../streams/domain.ts'
import { vocabulary } from '../streams/vocabulary.ts'
import {
  isPlace,
  lackingAt,
  lackingFor,
  lineOfLacking,
  retryLacking,
  shortened,
  sinksIn,
  summaryOfLacking,
} from './dlq-sinks.ts'
import { eventLines } from './event-rows.ts'
import { globals } from './options.ts'
import { ofRun, withSinkOptions } from './sink-options.ts'
import { readable } from './tail.ts'
import { writeOut } from './write-out.ts'

export function addDlq(dlq: Command): void {
  withSinkOptions(dlq.command('list'), ofRun)
    .description('list dead letters, and records that a sink cannot read: which, from where, and why')
    .option('--processor <name>', `only of this processor, or of a sink: ${SINKS.join(', ')}`)
    .action(async (options: { processor?: string }, command: Command) => {
      const global = globals(command)
      const sinks = sinksIn(options, global)
      const log = await openLogForReading(global)
      try {
        const lines: string[][] = []
        const others = new Set<string>()
        for await (const found of onlyOf(options.processor, deadLetters(log, reportForeign), others)) {
          const retried = await wasRetried(log, found)
          if (global.json) await writeOut(`${JSON.stringify({ ...summaryOf(found), retried })}\n`)
          else lines.push(lineOf(found, retried))
        }
        for await (const record of lackingFor(options.processor, sinks, others)) {
          if (global.json) await writeOut(`${JSON.stringify(summaryOfLacking(record))}\n`)
          else lines.push(lineOfLacking(record))
        }
        if (!global.json)
          await writeOut(lines.length === 0 ? noneOf(options.processor, others) : textTable(COLUMNS, lines))
      } finally {
        await log.close()
      }
    })

  withSinkOptions(dlq.command('show <n>'), ofRun)
    .description('show one dead letter, or one record that a sink cannot read, in full')
    .action(async (text: string, options: object, command: Command) => {
      const global = globals(command)
      const log = await openLogForReading(global)
      const blobs = blobsOf(global)
      try {
        if (isPlace(text)) {
          const [lacking] = await lackingAt(sinksIn(options, global), text)
          const head = `${lacking.sink} cannot read ${text}`
          const shown = {
            log,
            blobs,
            json: global.json,
            summary: summaryOfLacking(lacking),
            head,
            error: lacking.error,
          }
          return await show(await recordAt(log, lacking), shown)
        }
        const found = await letterOf(deadLetters(log), text)
        const { letter, appended_ms } = found
        const { topic, partition, key, headers, error } = letter
        const value = await rawValue(letter, blobs)
        const record = { topic, partition, offset: BigInt(letter.offset), appended_ms, key, headers, value }
        const retried = await wasRetried(log, found)
        const head = `dead letter ${found.number} of ${letter.processor}: ${letter.failure}${retried ? ', retried' : ''}`
        await show(record, { log, blobs, json: global.json, summary: { ...summaryOf(found), retried }, head, error })
      } finally {
        await log.close()
      }
    })

  withSinkOptions(dlq.command('retry [n]'), ofRun)
    .description('append it again, as a new fact caused by the dead letter; a second retry adds nothing')
    .option('--all', 'every dead letter that can be retried', false)
    .option('--processor <name>', 'with --all: only of this processor, or of a sink')
    .addHelpText(
      'after',
      '\nThe new event has a new ce_id; its causes are those of the original and the dead letter. All readers of its type\n' +
        'read it, also those that had processed the original. A record that cannot be decoded is refused: it would fail again.\n' +
        'A record that a sink cannot read (TOPIC/PARTITION/OFFSET) is read and loaded again; nothing is appended. A run also\n' +
        'does this itself: at its start, then at intervals of up to a minute.\n',
    )
    .action(async (text: string | undefined, options: { all: boolean; processor?: string }, command: Command) => {
      const global = globals(command)
      if ((text === undefined) !== options.all) {
        throw new UsageError('dlq retry: expected a number or --all', 'see ./plumbline dlq list')
      }
      if (text !== undefined && options.processor !== undefined) {
        throw new UsageError(`dlq retry ${text}: --processor goes with --all`, 'see ./plumbline dlq list')
      }
      const sinks = sinksIn(options, global)
      const folder = await openDataFolder(global, { create: false })
      try {
        const letters = deadLetters(folder.log, reportForeign)
        const wanted: FoundLetter[] = []
        const others = new Set<string>()
        const lacking: ListedRecord[] = []
        if (text !== undefined && isPlace(text)) lacking.push(...(await lackingAt(sinks, text)))
        else if (text !== undefined) wanted.push(await letterOf(letters, text))
        else {
          for await (const found of onlyOf(options.processor, letters, others)) wanted.push(found)
          for await (const record of lackingFor(options.processor, sinks, others)) lacking.push(record)
        }
        let refused = 0
        for (const found of wanted) {
          const retried = await retryDeadLetter(found, { ...folder, vocabulary })
          if (retried.outcome === 'refused') refused++
          const { number } = found
          await writeOut(
            global.json ? `${JSON.stringify({ number, ...retried })}\n` : `${number}: ${saying(retried)}\n`,
          )
        }
        refused += await retryLacking(lacking, folder, sinks, global)
        if (wanted.length + lacking.length === 0 && !global.json) await writeOut(noneOf(options.processor, others))
        if (text !== undefined && refused > 0) process.exitCode = 1
      } finally {
        await folder.close()
      }
    })
}

/** Reports a record in dead_letters that is not a dead letter; the listing continues. */
const reportForeign = ({ message }: Error) => void process.stderr.write(`plumbline: passed over: ${message}\n`)

/** The letters of one processor, or all; adds to `others` the processors whose letters were left out. */
async function* onlyOf(processor: string | undefined, letters: AsyncIterable<FoundLetter>, others: Set<string>) {
  for await (const found of letters) {
    if (processor === undefined || found.letter.processor === processor) yield found
    else others.add(found.letter.processor)
  }
}

interface Shown {
  readonly log: Log
  readonly blobs: Blobs
  readonly json: boolean
  readonly summary: object
  readonly head: string
  readonly error: string
}

/** Prints a record with all of its contents, as far as it can be read. */
async function show(record: LogRecord, { log, blobs, json, summary, head, error }: Shown): Promise<void> {
  const { headers, value } = record
  const partitions = (await log.topics()).find(({ name }) => name === record.topic)?.partitions ?? 1
  const event = await readable(record, blobs, partitions, vocabulary)
  if (json) {
    const value_base64 = value === null ? null : Buffer.from(value).toString('base64')
    return await writeOut(`${JSON.stringify({ ...summary, headers, value_base64, event })}\n`)
  }
  const lines = [head, `  ${error}`, ...headers.map(({ name, value }) => `  ${name}: ${value}`), '']
  const preview = value === null ? 'no value' : `${value.byteLength} bytes: ${JSON.stringify(textOf(value))}`
  await writeOut(`${lines.map(printableLine).join('\n')}\n${eventLines(event, 200)}`)
  if (event.unreadable !== undefined) await writeOut(`  ${printableLine(preview)}\n`)
}

/** A misspelt name has no dead letters either, so the text names the processors that have some. */
function noneOf(processor: string | undefined, others: ReadonlySet<string>): string {
  if (processor === undefined) return 'no dead letters\n'
  const elsewhere = others.size === 0 ? '' : `; there are some of ${[...others].sort().join(', ')}`
  return `no dead letters of ${processor}${elsewhere}\n`
}

function saying(retried: Retried): string {
  switch (retried.outcome) {
    case 'appended':
      return `appended as ${retried.ce_id}`
    case 'already':
      return `was retried before, as ${retried.ce_id}; nothing added`
    case 'refused':
      return `refused: ${retried.reason}`
  }
}

async function letterOf(letters: AsyncIterable<FoundLetter>, text: string): Promise<FoundLetter> {
  for await (const found of letters) if (String(found.number) === text) return found
  throw new UsageError(`dead letter ${text}: there is no such one`, 'see ./plumbline dlq list')
}

function summaryOf({ number, partition, offset, appended_ms, letter }: FoundLetter) {
  const { headers: _headers, value_base64: _value, value_blob: _blob, ...rest } = letter
  const place = { dead_letter_partition: partition, dead_letter_offset: Number(offset) }
  return { number, ...place, appended: new Date(appended_ms).toISOString(), ...rest }
}

const COLUMNS = [
  { name: 'n', right: true },
  ...['processor', 'failure', 'record', 'key', 'retried', 'error'].map((name) => ({ name })),
]

function lineOf({ number, letter }: FoundLetter, retried: boolean): string[] {
  const { processor, failure, topic, partition, offset, key, error } = letter
  return [
    String(number),
    processor,
    failure,
    `${topic} p${partition}@${offset}`,
    (key ?? '').slice(0, 12),
    retried ? 'yes' : 'no',
    shortened(error),
  ]
}

const textOf = (value: Uint8Array) => Buffer.from(value.subarray(0, 200)).toString('utf8')
