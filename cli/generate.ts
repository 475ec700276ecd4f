import type { Command } from 'commander'
import { LEGAL_PAIRS } from '../environments/tower/task.ts'
import { AheadOf } from '../pipeline/ahead-of.ts'
import type { DataFolder } from '../pipeline/data-folder.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import { PURPOSES } from '../schemas/events/rollout.ts'
import { DATASETS, PROMPT_VARIANTS, SPLITS, TASKS } from '../schemas/events/tower.ts'
import { towerOrigin } from '../schemas/events/tower-origin.ts'
import { CONSUMER_NAME } from '../schemas/events/training.ts'
import type { Partitions } from '../schemas/wire/partitions.ts'
import { everyOf, type Pace, perSecond } from '../sources/pace.ts'
import { type TowerScenesOptions, towerScenes } from '../sources/tower-scenes.ts'
import { DEFAULTS } from '../streams/topology.ts'
import { vocabulary } from '../streams/vocabulary.ts'
import { bringIn, type PaceOn, runInto } from './bring-in.ts'
import { fraction, globals, oneOfWords, wholeNumber } from './options.ts'

interface GenerateOptions {
  dataset: TowerScenesOptions['dataset']
  task: TowerScenesOptions['task']
  split: TowerScenesOptions['split']
  prompt: TowerScenesOptions['variant']
  purpose: TowerScenesOptions['purpose']
  scenes?: number
  forever: boolean
  rate?: number
  aheadOf?: ReadonlyMap<string, number>
  seed: string
  groupSize: number
  round: number
}

/** Scenes a second where nothing else limits them. Inferred: something to look at, and a disk that lasts for years. */
const FOREVER_RATE = 1

export function addGenerate(generate: Command): void {
  generate
    .command('tower')
    .description(
      'append block towers, each with a request for a group of completions; the same seed gives the same events',
    )
    .requiredOption('--dataset <name>', DATASETS.join(', '), oneOfWords('dataset', DATASETS))
    .requiredOption('--task <name>', TASKS.join(', '), oneOfWords('task', TASKS))
    .option('--scenes <n>', 'number of scenes', wholeNumber('scenes', 1, 100_000_000))
    .option('--forever', 'run until stopped; resumes where it stopped', false)
    .option(
      '--rate <n>',
      'maximum scenes per second (default with --forever: 1, or as --ahead-of permits)',
      fraction('rate', 0.001, 1_000_000),
    )
    .option(
      '--ahead-of <consumer=n>',
      'with --forever: ask only while fewer than N groups are ahead of this training consumer (docs/feed.md); repeatable',
      consumerLimit,
    )
    .requiredOption('--seed <s>', 'any text')
    .option('--split <name>', SPLITS.join(', '), oneOfWords('split', SPLITS), 'train')
    .option('--prompt <variant>', PROMPT_VARIANTS.join(', '), oneOfWords('prompt', PROMPT_VARIANTS), 'plain')
    .option('--purpose <name>', PURPOSES.join(', '), oneOfWords('purpose', PURPOSES), 'train')
    .option('--group-size <n>', 'completions per request; 16 in the paper', wholeNumber('group-size', 1, 1024), 16)
    .option(
      '--round <n>',
      '1 requests completions of the same scenes a second time, and so on',
      wholeNumber('round', 0, 1_000_000),
      0,
    )
    .action(async (options: GenerateOptions, command: Command) => {
      const global = globals(command)
      refuseImpossible(options)
      const { prompt, groupSize, forever, scenes = Number.POSITIVE_INFINITY, rate: _, aheadOf, ...rest } = options
      // A group that is waited for must expire although nothing is generated meanwhile.
      const now = aheadOf === undefined ? undefined : () => new Date().toISOString()
      await bringIn(global, {
        ...towers({ ...rest, scenes, variant: prompt, group_size: groupSize, now }),
        pace: (on) => everyOf(pacesOf(options, on)),
        endures: forever,
      })
    })
}

/** The one that waits for readers comes last: what it permits is out of date soonest. */
function pacesOf(
  { forever, rate, task, purpose, aheadOf }: GenerateOptions,
  { folder, partitions, report }: PaceOn,
): Pace[] {
  const per_second = rate ?? (forever && aheadOf === undefined ? FOREVER_RATE : undefined)
  const paces = per_second === undefined ? [] : [perSecond(per_second)]
  if (aheadOf === undefined) return paces
  const { log, blobs } = folder
  const ahead = new AheadOf({
    ...{ log, blobs, vocabulary, partitions, report, limits: aheadOf },
    asks: { origin: towerOrigin.name, task, purpose },
    ...(rate === undefined ? { otherwise: perSecond(FOREVER_RATE) } : {}),
  })
  return [...paces, ahead]
}

/** Parser of `--ahead-of`, which may be given for several consumers. */
function consumerLimit(text: string, before: ReadonlyMap<string, number> = new Map()): ReadonlyMap<string, number> {
  const [consumer = '', count = '', ...rest] = text.split('=')
  if (!CONSUMER_NAME.test(consumer) || rest.length > 0) {
    throw new UsageError(`--ahead-of ${text}: expected the name of a consumer and a number`, 'e.g. --ahead-of lab=64')
  }
  if (before.has(consumer)) throw new UsageError(`--ahead-of ${text}: ${consumer} is named twice`, 'name it once')
  const most = /^\d+$/.test(count) ? Number(count) : 0
  if (most < 1 || most > MOST_AHEAD) {
    const problem = `--ahead-of ${text}: expected a whole number from 1 to ${MOST_AHEAD} after ${consumer}=`
    throw new UsageError(problem, `e.g. --ahead-of ${consumer}=64`)
  }
  return new Map([...before, [consumer, most]])
}

/** Inferred: the groups ahead are kept in memory. */
const MOST_AHEAD = 1_000_000

/** Runs the tower source to its end or until stopped, and reports progress. */
export async function generate(
  folder: DataFolder,
  options: TowerScenesOptions,
  silent: boolean,
  signal: AbortSignal,
  partitions: Partitions = DEFAULTS.partitions,
): ReturnType<typeof runInto> {
  return await runInto(folder, towers(options), { silent, signal, partitions })
}

const towers = (options: TowerScenesOptions) => ({
  label: `${options.dataset} ${options.task}`,
  unit: 'scenes',
  source: ({ blobs }: DataFolder) => towerScenes(options, blobs),
})

/** @throws UsageError when options that are valid alone cannot be combined. */
function refuseImpossible(options: GenerateOptions): void {
  if (options.forever === (options.scenes !== undefined)) {
    const problem = options.forever ? '--scenes and --forever exclude each other' : 'the number of scenes is missing'
    throw new UsageError(problem, 'name --scenes N, or --forever')
  }
  if (options.aheadOf !== undefined && !options.forever) {
    throw new UsageError('--ahead-of limits a source without end', 'use it with --forever')
  }
  if (!LEGAL_PAIRS.some(({ dataset, task }) => dataset === options.dataset && task === options.task)) {
    const pairs = LEGAL_PAIRS.map(({ dataset, task }) => `--dataset ${dataset} --task ${task}`)
    throw new UsageError(`--task ${options.task} is not a task of ${options.dataset}`, `possible: ${pairs.join('; ')}`)
  }
  if (options.prompt === 'reasoning' && !(options.dataset === 'top_block' && options.task === 'x_only')) {
    throw new UsageError('--prompt reasoning exists for one task', 'use it with --dataset top_block --task x_only')
  }
}
