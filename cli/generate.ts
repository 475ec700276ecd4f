import type { Command } from 'commander'
import { LEGAL_PAIRS } from '../environments/tower/task.ts'
import type { Partitions } from '../schemas/partitions.ts'
import { PROMPT_VARIANTS, PURPOSES } from '../schemas/rollout.ts'
import { DATASETS, SPLITS, TASKS } from '../schemas/tower.ts'
import { runSource } from '../sources/source.ts'
import { type TowerScenesOptions, towerScenes } from '../sources/tower-scenes.ts'
import { DEFAULTS } from '../streams/topology.ts'
import { type DataFolder, openDataFolder } from './data-folder.ts'
import { globals, oneOfWords, stopSignal, wholeNumber } from './options.ts'
import { prepareLog, wiringOn } from './pipeline.ts'
import { number, Progress } from './progress.ts'
import { UsageError } from './usage-error.ts'

interface GenerateOptions {
  dataset: TowerScenesOptions['dataset']
  task: TowerScenesOptions['task']
  split: TowerScenesOptions['split']
  prompt: TowerScenesOptions['variant']
  purpose: TowerScenesOptions['purpose']
  scenes: number
  seed: string
  groupSize: number
  round: number
}

export function addGenerate(program: Command): void {
  program
    .command('generate')
    .description('bring new events into the log')
    .command('tower')
    .description('block towers, each with a request for a group of completions; the same seed gives the same events')
    .requiredOption('--dataset <name>', DATASETS.join(', '), oneOfWords('dataset', DATASETS))
    .requiredOption('--task <name>', TASKS.join(', '), oneOfWords('task', TASKS))
    .requiredOption('--scenes <n>', 'how many', wholeNumber('scenes', 1, 100_000_000))
    .requiredOption('--seed <s>', 'any text')
    .option('--split <name>', SPLITS.join(', '), oneOfWords('split', SPLITS), 'train')
    .option('--prompt <variant>', PROMPT_VARIANTS.join(', '), oneOfWords('prompt', PROMPT_VARIANTS), 'plain')
    .option('--purpose <name>', PURPOSES.join(', '), oneOfWords('purpose', PURPOSES), 'train')
    .option('--group-size <n>', 'completions per request; 16 in the paper', wholeNumber('group-size', 1, 1024), 16)
    .option('--round <n>', 'ask for the same scenes once more', wholeNumber('round', 0, 1_000_000), 0)
    .action(async (options: GenerateOptions, command: Command) => {
      const global = globals(command)
      refuseImpossible(options)
      const folder = await openDataFolder(global, { create: true })
      try {
        const wiring = await wiringOn(folder, global)
        await prepareLog(folder, wiring)
        const { prompt, groupSize, ...rest } = options
        const result = await generate(
          folder,
          { ...rest, variant: prompt, group_size: groupSize },
          global.json,
          stopSignal(),
          wiring.partitions,
        )
        if (global.json) process.stdout.write(`${JSON.stringify(result)}\n`)
      } finally {
        await folder.close()
      }
    })
}

/** Runs the tower source to its end or until stopped, and reports progress. */
export async function generate(
  folder: DataFolder,
  options: TowerScenesOptions,
  silent: boolean,
  signal: AbortSignal,
  partitions: Partitions = DEFAULTS.partitions,
): Promise<{ readonly done: number; readonly already: number; readonly events: number }> {
  const progress = new Progress(`${options.dataset} ${options.task}`, { silent })
  const result = await runSource(towerScenes(options, folder.blobs), {
    log: folder.log,
    blobs: folder.blobs,
    partitions,
    signal,
    onProgress: (done, steps) => progress.at(done, steps),
  })
  const before = result.already > 0 ? `, ${number(result.already)} were there already` : ''
  progress.done(`${number(result.done)} scenes${before}`)
  return result
}

/** @throws UsageError when options that are valid alone cannot be combined. */
function refuseImpossible(options: GenerateOptions): void {
  if (!LEGAL_PAIRS.some(({ dataset, task }) => dataset === options.dataset && task === options.task)) {
    const pairs = LEGAL_PAIRS.map(({ dataset, task }) => `--dataset ${dataset} --task ${task}`)
    throw new UsageError(`--task ${options.task} is not a task of ${options.dataset}`, `possible: ${pairs.join('; ')}`)
  }
  if (options.prompt === 'reasoning' && !(options.dataset === 'top_block' && options.task === 'x_only')) {
    throw new UsageError('--prompt reasoning exists for one task', 'use it with --dataset top_block --task x_only')
  }
}
