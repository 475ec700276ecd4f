import { existsSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type Repaired, repairLog } from '../infra/log/lmdb/repair.ts'
import { storedFold } from '../infra/runtime/execute/stored-fold.ts'
import { isInternal } from '../infra/runtime/internal/internal-records.ts'
import { changelogTopic, journalTopic } from '../infra/runtime/internal/internal-topics.ts'
import { resetProcessor } from '../infra/runtime/state/reset-positions.ts'
import { verifiable } from '../infra/verify/verify-stage.ts'
import { inputTopics } from '../processors/processor.ts'
import { vocabulary } from '../streams/vocabulary.ts'
import { copyBlobs } from './copy-blobs.ts'
import { type DataOptions, isKafka, isShared, makeDataFolder, openDataFolder } from './data-folder.ts'
import { UsageError } from './usage-error.ts'
import { prepareLog, wiringOn } from './wiring.ts'

export interface RepairReport extends Repaired {
  readonly to: string
  readonly blobs: { readonly copied: number; readonly damaged: readonly string[] }
  /** Messages: what the next run recomputes, and what a person has to do. */
  readonly next: readonly string[]
}

/**
 * Copies the intact parts of a damaged data folder into a new one. The damaged one is only read.
 *
 * @param to a folder that is empty or does not exist
 * @throws UsageError when it is not empty, or there is no embedded log to repair
 */
export async function repairFolder(options: DataOptions, to: string): Promise<RepairReport> {
  const target = resolve(to)
  if (isKafka(options.log)) {
    throw new UsageError(`--log ${options.log}: expected lmdb:DIR`, 'a Kafka broker repairs its own files')
  }
  if (existsSync(target) && readdirSync(target).length > 0) {
    throw new UsageError(`--to ${to}: expected an empty folder, or none`, 'name a new one')
  }
  const from = options.log?.replace(/^lmdb:/, '') ?? join(resolve(options.data), 'log')
  if (!existsSync(from)) throw new UsageError(`${from}: there is no log`, 'name its folder with --data or --log')
  const resumes = (group: string, topics: ReadonlySet<string>) => topics.has(journalTopic(group))
  const log = await repairLog({ from: resolve(from), to: join(target, 'log'), resumes })
  makeDataFolder({ data: target, shared: options.shared || isShared(options.data) })
  const blobs = await copyBlobs(options.data, target)
  const next = lostNothing(log) ? [] : await startAgain(target, log)
  return { to: target, ...log, blobs, next }
}

const lostNothing = ({ lost, nameless, topics }: Repaired) =>
  lost.length === 0 && nameless === 0 && !topics.some(({ may_lack_end }) => may_lack_end)

/**
 * Lost outputs, journals and states of a processor follow from its inputs. If those are intact, the processor is reset
 * and the next run recomputes them.
 */
async function startAgain(data: string, { lost, topics, nameless }: Repaired): Promise<string[]> {
  const folder = await openDataFolder({ data }, { create: false })
  try {
    const { log } = folder
    const wiring = await wiringOn(folder, {})
    const there = new Set(topics.map(({ name }) => name))
    const damaged = new Set(lost.map(({ topic }) => topic))
    const endless = new Set(topics.filter(({ may_lack_end }) => may_lack_end).map(({ name }) => name))
    const isLost = (topic: string) => damaged.has(topic) || endless.has(topic) || (nameless > 0 && !there.has(topic))
    await prepareLog(folder, wiring)
    const told: string[] = []
    /** By topic: the stage that will recompute its lost records, by itself or when a person resets it. */
    const again = new Map<string, string>()
    for (const stage of verifiable(wiring.stages)) {
      const processor = stage.create(stage.variant)
      const { name } = stage
      const changelog = changelogTopic(name)
      const outputs = processor.outputs.map(({ type }) => type)
      const own = [...outputs, journalTopic(name), ...(storedFold(processor) === undefined ? [] : [changelog])]
      const gone = own.filter(isLost)
      // Of facts that may lack some at their end, what is left is all there is.
      const isLeftAsItIs = (topic: string) => endless.has(topic) && !damaged.has(topic) && !again.has(topic)
      const inputs = inputTopics(processor).filter((topic) => isLost(topic) && !isLeftAsItIs(topic))
      if (gone.length === 0) continue
      if (inputs.length > 0) {
        const before = inputs.map((topic) => again.get(topic))
        const reset = `./plumbline --data ${data} positions reset --only ${name}`
        told.push(
          `${name}: some of ${gone.join(', ')} is lost, and of ${inputs.join(', ')}, which it follows from. Before any other run: ` +
            (before.includes(undefined)
              ? `${reset}, which recomputes it from what is left`
              : `./plumbline --data ${data} run --until-idle --only ${[...new Set(before)].join(' ')}; then ${reset}`),
        )
        for (const output of outputs) again.set(output, name)
        continue
      }
      const ends = gone.includes(changelog) ? await log.endOffsets(changelog) : []
      await resetProcessor(log, processor)
      // Delete the former states, so that the gaps in them no longer count as missing records.
      for (const [partition, end] of ends.entries()) await log.deleteBefore(changelog, partition, end)
      told.push(`${name} restarts at the beginning: the next run recomputes what is lost of ${gone.join(', ')} again`)
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
