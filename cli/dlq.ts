import type { Command } from 'commander'
import {
  deadLetters,
  type FoundLetter,
  type Retried,
  rawValue,
  retryDeadLetter,
  wasRetried,
} from '../infra/runtime/retry-dead-letter.ts'
import { vocabulary } from '../schemas/catalogue.ts'
import { blobsOf, openDataFolder, openLogForReading } from './data-folder.ts'
import { eventLines } from './event-rows.ts'
import { globals } from './options.ts'
import { readable } from './tail.ts'
import { textTable } from './text-table.ts'
import { UsageError } from './usage-error.ts'
import { writeOut } from './write-out.ts'

export function addDlq(program: Command): void {
  const dlq = program.command('dlq').description('dead letters: records that a processor could not take')
  dlq
    .command('list')
    .description('every dead letter: which, where from, and why')
    .option('--processor <name>', 'only what this processor could not take')
    .action(async (options: { processor?: string }, command: Command) => {
      const global = globals(command)
      const log = await openLogForReading(global)
      try {
        const lines: string[][] = []
        const others = new Set<string>()
        for await (const found of onlyOf(options.processor, deadLetters(log), others)) {
          const retried = await wasRetried(log, found)
          if (global.json) await writeOut(`${JSON.stringify({ ...summaryOf(found), retried })}\n`)
          else lines.push(lineOf(found, retried))
        }
        if (!global.json)
          await writeOut(lines.length === 0 ? noneOf(options.processor, others) : textTable(COLUMNS, lines))
      } finally {
        await log.close()
      }
    })

  dlq
    .command('show <n>')
    .description('one dead letter with everything that it holds')
    .action(async (text: string, _options: unknown, command: Command) => {
      const global = globals(command)
      const log = await openLogForReading(global)
      const blobs = blobsOf(global)
      try {
        const found = await letterOf(deadLetters(log), text)
        const { letter, appended_ms } = found
        const { topic, partition, key, headers } = letter
        const value = await rawValue(letter, blobs)
        const record = { topic, partition, offset: BigInt(letter.offset), appended_ms, key, headers, value }
        const partitions = (await log.topics()).find(({ name }) => name === topic)?.partitions ?? 1
        const event = await readable(record, blobs, partitions)
        const retried = await wasRetried(log, found)
        if (global.json) {
          const value_base64 = value === null ? null : Buffer.from(value).toString('base64')
          await writeOut(`${JSON.stringify({ ...summaryOf(found), retried, headers, value_base64, event })}\n`)
          return
        }
        const head = [
          `dead letter ${found.number} of ${letter.processor}: ${letter.failure}${retried ? ', retried' : ''}`,
          `  ${letter.error}`,
          ...headers.map(({ name, value }) => `  ${name}: ${value}`),
          '',
        ]
        const preview = value === null ? 'no value' : `${value.byteLength} bytes: ${JSON.stringify(textOf(value))}`
        await writeOut(`${head.join('\n')}\n${eventLines(event, 200)}`)
        if (event.unreadable !== undefined) await writeOut(`  ${preview}\n`)
      } finally {
        await log.close()
      }
    })

  dlq
    .command('retry [n]')
    .description('say it again, as a new fact that the dead letter caused; retrying twice adds nothing')
    .option('--all', 'every dead letter that can be retried', false)
    .option('--processor <name>', 'with --all: only what this processor could not take')
    .addHelpText(
      'after',
      '\nThe new event has a ce_id of its own; its causes are those of the first one and the dead letter. Every reader of\n' +
        'its type gets it, also those that had taken the first one. What cannot be decoded is refused: it would fail again.\n',
    )
    .action(async (text: string | undefined, options: { all: boolean; processor?: string }, command: Command) => {
      const global = globals(command)
      if ((text === undefined) !== options.all) {
        throw new UsageError('dlq retry: expected a number or --all', 'see ./plumbline dlq list')
      }
      if (text !== undefined && options.processor !== undefined) {
        throw new UsageError(`dlq retry ${text}: --processor goes with --all`, 'see ./plumbline dlq list')
      }
      const folder = await openDataFolder(global, { create: false })
      try {
        const letters = deadLetters(folder.log)
        const wanted: FoundLetter[] = []
        const others = new Set<string>()
        if (text !== undefined) wanted.push(await letterOf(letters, text))
        else {
          for await (const found of onlyOf(options.processor, letters, others)) wanted.push(found)
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
        if (wanted.length === 0 && !global.json) await writeOut(noneOf(options.processor, others))
        if (text !== undefined && refused > 0) process.exitCode = 1
      } finally {
        await folder.close()
      }
    })
}

/** The letters of one processor, or all; `others` gets the names of those that were left out. */
async function* onlyOf(processor: string | undefined, letters: AsyncIterable<FoundLetter>, others: Set<string>) {
  for await (const found of letters) {
    if (processor === undefined || found.letter.processor === processor) yield found
    else others.add(found.letter.processor)
  }
}

/** A name that is misspelt has none either: those that have some are told. */
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
  const said = error.replaceAll(/\s+/g, ' ')
  return [
    String(number),
    processor,
    failure,
    `${topic} p${partition}@${offset}`,
    (key ?? '').slice(0, 12),
    retried ? 'yes' : 'no',
    said.length > 90 ? `${said.slice(0, 89)}…` : said,
  ]
}

const textOf = (value: Uint8Array) => Buffer.from(value.subarray(0, 200)).toString('utf8')
