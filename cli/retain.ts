import type { Command } from 'commander'
import { openDataFolder } from '../pipeline/data-folder.ts'
import { type RetainReport, retain } from '../pipeline/retain/retain.ts'
import { number } from '../pipeline/text/number.ts'
import { textTable } from '../pipeline/text/text-table.ts'
import { wiringOn } from '../pipeline/wiring.ts'
import { globals, wholeNumber } from './options.ts'
import { placesIn, withSinkOptions } from './sink-options.ts'
import { writeOut } from './write-out.ts'

const DAY_MS = 86_400_000
const HOUR_MS = 3_600_000

interface RetainCommandOptions {
  readonly olderThan: number
  readonly blobGrace: number
  readonly past?: readonly string[]
  readonly delete: boolean
}

export function addRetain(command: Command): void {
  command
    .requiredOption(
      '--older-than <days>',
      'records that were appended longer ago may go; 0: all that nothing needs',
      wholeNumber('older-than', 0, 100_000),
    )
    .option('--delete', 'delete them; without it, only tell what would go', false)
    .option(
      '--past <reader...>',
      'do not wait for these readers, as the output names them; consumer/NAME for a consumer',
    )
    .option(
      '--blob-grace <hours>',
      'keep blobs that were put or asked for since: longer than any program takes from a blob to its record',
      wholeNumber('blob-grace', 1, 100_000),
      24,
    )
  withSinkOptions(
    command,
    ({ name, place }) => `keep what the sink of run --${name} that writes to this ${place} has not loaded`,
  )
    .addHelpText(
      'after',
      '\nNothing goes that a processor, a sink or a training consumer still needs: docs/feed.md#retention. Name every sink\n' +
        'but the tables of this data folder; those of other hosts are not known here. Deleted records cannot be brought back:\n' +
        'tables that are made again lack them, and verify reports what it can no longer compute.\n',
    )
    .action(async (options: RetainCommandOptions, command: Command) => {
      const global = globals(command)
      const folder = await openDataFolder(global, { create: false })
      try {
        const now_ms = Date.now()
        const report = await retain(folder, await wiringOn(folder, global), {
          older_than_ms: now_ms - options.olderThan * DAY_MS,
          blobs_before_ms: now_ms - options.blobGrace * HOUR_MS,
          past: options.past ?? [],
          places: placesIn(options),
          deletes: options.delete,
          report: (message) => void process.stderr.write(`plumbline: ${message}\n`),
        })
        await writeOut(global.json ? jsonOf(report, options.delete) : textOf(report, options.delete))
      } finally {
        await folder.close()
      }
    })
}

function jsonOf({ partitions, blobs }: RetainReport, deleted: boolean): string {
  const plain = partitions.map(({ before, ...rest }) => ({ ...rest, before: Number(before) }))
  return `${JSON.stringify({ deleted, partitions: plain, blobs: blobs ?? null })}\n`
}

function textOf({ partitions, blobs }: RetainReport, deleted: boolean): string {
  const going = partitions.filter(({ records }) => records > 0)
  const topics = [...new Set(going.map(({ topic }) => topic))]
  const rows = topics.map((topic) => {
    const of_topic = going.filter((one) => one.topic === topic)
    const sum = (field: 'records' | 'bytes') => of_topic.reduce((total, one) => total + one[field], 0)
    const before = of_topic.map(({ partition, before }) => `${partition}: ${number(Number(before))}`).join(', ')
    return [topic, number(sum('records')), number(sum('bytes')), before]
  })
  const columns = [
    { name: 'topic' },
    ...['records', 'bytes'].map((name) => ({ name, right: true })),
    { name: 'first offset that stays, by partition' },
  ]
  const did = deleted ? 'deleted' : 'would be deleted'
  return [
    rows.length === 0 ? `no records ${did}` : textTable(columns, rows).trimEnd(),
    ...heldLines(partitions),
    blobs === undefined
      ? 'blobs: not in this data folder, left alone; run this where their folder is, or see docs/blobs.md'
      : `blobs that no record names: ${number(blobs.blobs)}, ${number(blobs.bytes)} bytes, ${did}`,
    ...(deleted ? [] : ['nothing was deleted: add --delete']),
    '',
  ].join('\n')
}

function heldLines(partitions: RetainReport['partitions']): string[] {
  const topics_by_reason = new Map<string, Set<string>>()
  for (const { topic, held_by } of partitions) {
    for (const why of held_by) topics_by_reason.set(why, (topics_by_reason.get(why) ?? new Set()).add(topic))
  }
  const lines = [...topics_by_reason].map(([why, topics]) => `  ${[...topics].join(', ')}: ${why}`)
  return lines.length === 0 ? [] : ['older records stay:', ...lines]
}
