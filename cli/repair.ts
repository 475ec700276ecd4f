import { existsSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { type Repaired, type RepairedTopic, repairLog } from '../infra/log/lmdb/repair.ts'
import { isInternal } from '../infra/runtime/internal/internal-records.ts'
import { changelogTopic, journalTopic } from '../infra/runtime/internal/internal-topics.ts'
import { resetProcessor } from '../infra/runtime/state/reset-positions.ts'
import { damagedPlace } from '../infra/verify/places.ts'
import { verifiable } from '../infra/verify/verify-stage.ts'
import { inputTopics } from '../processors/processor.ts'
import { vocabulary } from '../streams/vocabulary.ts'
import { copyBlobs } from './copy-blobs.ts'
import { isKafka, isShared, makeDataFolder, openDataFolder } from './data-folder.ts'
import { type GlobalOptions, globals } from './options.ts'
import { prepareLog, wiringOn } from './pipeline.ts'
import { number } from './progress.ts'
import { textTable } from './text-table.ts'
import { UsageError } from './usage-error.ts'
import { writeOut } from './write-out.ts'

export function addRepair(program: Command): void {
  program
    .command('repair')
    .description('copy what is whole of a damaged folder into a new one, and say what is not')
    .requiredOption('--to <dir>', 'a new data folder: empty, or not there')
    .addHelpText(
      'after',
      '\nNothing of the damaged folder is changed, and LMDB never opens it: its pages are read one by one. Records come\n' +
        'with their offsets where their checksum holds, positions where the records that they name are the same, blobs\n' +
        'with the right hash. The tables are made anew by the next run. Stop every run of the damaged folder first.\n',
    )
    .action(async ({ to }: { to: string }, command: Command) => {
      const global = globals(command)
      const target = resolve(to)
      if (isKafka(global.log)) {
        throw new UsageError(`--log ${global.log}: expected lmdb:DIR`, 'a Kafka broker repairs its own files')
      }
      if (existsSync(target) && readdirSync(target).length > 0) {
        throw new UsageError(`--to ${to}: expected an empty folder, or none`, 'name a new one')
      }
      const from = global.log?.replace(/^lmdb:/, '') ?? join(resolve(global.data), 'log')
      if (!existsSync(from)) throw new UsageError(`${from}: no log lies here`, 'name its folder with --data or --log')
      const resumes = (group: string, topics: ReadonlySet<string>) => topics.has(journalTopic(group))
      const log = await repairLog({ from: resolve(from), to: join(target, 'log'), resumes })
      makeDataFolder({ data: target, shared: global.shared || isShared(global.data) })
      const blobs = await copyBlobs(global.data, target)
      const next = lostNothing(log) ? [] : await beginAnew(target, log)
      const report = { to: target, ...log, blobs, next }
      if (!global.json) await writeOut(textOf(report, global))
      else
        await writeOut(`${JSON.stringify(report, (_, value) => (typeof value === 'bigint' ? Number(value) : value))}\n`)
    })
}

interface Report extends Repaired {
  readonly to: string
  readonly blobs: { readonly copied: number; readonly damaged: readonly string[] }
  /** What the next run recomputes, and what a person has to do, in words. */
  readonly next: readonly string[]
}

const lostNothing = ({ lost, nameless }: Repaired) => lost.length === 0 && nameless === 0

/**
 * Lost outputs, journals and states of a processor follow from its inputs. If those are intact, the processor is reset
 * and the next run recomputes them.
 */
async function beginAnew(data: string, { lost, topics, nameless }: Repaired): Promise<string[]> {
  const folder = await openDataFolder({ data }, { create: false })
  try {
    const { log } = folder
    const wiring = await wiringOn(folder, {})
    const there = new Set(topics.map(({ name }) => name))
    const damaged = new Set(lost.map(({ topic }) => topic))
    const isLost = (topic: string) => damaged.has(topic) || (nameless > 0 && !there.has(topic))
    await prepareLog(folder, wiring)
    const told: string[] = []
    /** By topic: the stage that will recompute its lost records. */
    const again = new Map<string, string>()
    for (const stage of verifiable(wiring.stages)) {
      const processor = stage.create(stage.variant)
      const { name } = stage
      const changelog = changelogTopic(name)
      const outputs = processor.outputs.map(({ type }) => type)
      const own = [...outputs, journalTopic(name), ...(processor.shape === 'transform' ? [] : [changelog])]
      const [gone, inputs] = [own.filter(isLost), inputTopics(processor).filter(isLost)]
      if (gone.length === 0) continue
      if (inputs.length > 0) {
        const before = inputs.map((topic) => again.get(topic))
        const reset = `./plumbline --data ${data} positions reset --only ${name}`
        told.push(
          `${name}: some of ${gone.join(', ')} is lost, and of ${inputs.join(', ')}, which it follows from. Before any other run: ` +
            (before.includes(undefined)
              ? `${reset}, which computes it from what is left`
              : `./plumbline --data ${data} run --until-idle --only ${[...new Set(before)].join(' ')}; then ${reset}`),
        )
        continue
      }
      const ends = gone.includes(changelog) ? await log.endOffsets(changelog) : []
      await resetProcessor(log, processor)
      // Delete the former states, so that the gaps in them no longer count as missing records.
      for (const [partition, end] of ends.entries()) await log.deleteBefore(changelog, partition, end)
      told.push(`${name} begins anew: the next run computes what is lost of ${gone.join(', ')} again`)
      for (const output of outputs) again.set(output, name)
    }
    return [...told, ...factsText(damaged)]
  } finally {
    await folder.close()
  }
}

function factsText(topics: ReadonlySet<string>): string[] {
  const facts = [...topics].filter((topic) => vocabulary.get(topic)?.retention !== 'derived' && !isInternal(topic))
  if (facts.length === 0) return []
  return [`${facts.join(', ')}: facts, which nothing computes again. Bring them in again, or put a backup in place`]
}

function textOf(
  { to, topics, positions, unchecked, lost, problems, blobs, next }: Report,
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
    `${number(blobs.copied)} blobs, each with its hash; the tables are made anew by the next run`,
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
