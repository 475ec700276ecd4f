import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { RepairedTopic } from '../infra/log/lmdb/repair.ts'
import { isInternal } from '../infra/runtime/internal/internal-records.ts'
import { damagedPlace } from '../infra/verify/places.ts'
import { type RepairReport, repairFolder } from '../pipeline/repair.ts'
import { number } from '../pipeline/text/number.ts'
import { textTable } from '../pipeline/text/text-table.ts'
import { vocabulary } from '../streams/vocabulary.ts'
import { type GlobalOptions, globals } from './options.ts'
import { writeOut } from './write-out.ts'

export function addRepair(command: Command): void {
  command
    .requiredOption('--to <dir>', 'the new data folder: empty, or not existing yet')
    .addHelpText(
      'after',
      '\nThe damaged folder is not changed and never opened by LMDB: its pages are read one by one. Copied are records whose\n' +
        'checksum is right, with their offsets; positions whose records are the same; and blobs whose hash is right. The\n' +
        'next run creates the tables again. Stop every run of the damaged folder first.\n',
    )
    .action(async ({ to }: { to: string }, command: Command) => {
      const global = globals(command)
      const report = await repairFolder(global, to)
      if (!global.json) await writeOut(textOf(report, global))
      else
        await writeOut(`${JSON.stringify(report, (_, value) => (typeof value === 'bigint' ? Number(value) : value))}\n`)
    })
}

function textOf(
  { to, topics, positions, unchecked, lost, problems, blobs, next }: RepairReport,
  { data }: GlobalOptions,
): string {
  const missing = (name: string) =>
    lost.filter(({ topic }) => topic === name).reduce((sum, { from, to }) => sum + Number(to - from), 0)
  const rows = topics.map((topic) => [topic.name, number(topic.records), number(missing(topic.name)), noteOn(topic)])
  const columns = [
    { name: 'topic' },
    { name: 'copied', right: true },
    { name: 'lost at most', right: true },
    { name: '' },
  ]
  const unknown = topics.filter(({ name }) => vocabulary.get(name) === undefined && !isInternal(name))
  const not_whole = [
    ...lost.map((one) => `lost: ${damagedPlace(one)}, ${number(Number(one.to - one.from))} records at most`),
    ...problems,
    ...unknown.map(({ name }) => `topic ${name} is of no event of this release: its name may be damaged`),
    ...blobs.damaged.map((path) => `blob ${path}: has another hash, or cannot be read; it was not copied`),
  ]
  return [
    textTable(columns, rows).trimEnd(),
    `${number(positions)} positions${unchecked.length === 0 ? '' : `; nothing tells whether these are right: ${unchecked.join(', ')}`}`,
    `${number(blobs.copied)} blobs, each with its hash; the next run creates the tables again`,
    not_whole.length === 0 ? 'all of it was whole' : 'not whole:',
    ...not_whole.map((line) => `  ${line}`),
    ...next,
    `${resolve(data)} was left as it is. Go on in the new folder: ./plumbline --data ${to} run --until-idle, then verify`,
    '',
  ].join('\n')
}

function noteOn({ unchecksummed, found }: RepairedTopic): string {
  return [
    ...(unchecksummed === 0 ? [] : [`${number(unchecksummed)} without a checksum`]),
    ...(found === 0 ? [] : [`${number(found)} found outside of the damaged trees`]),
  ].join(', ')
}
