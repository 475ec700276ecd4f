import type { Command } from 'commander'
import { REWARD_NAME } from '../environments/tower/reward.ts'
import { type SweepOptions, type Swept, sweep } from '../infra/runtime/rebuild/sweep.ts'
import { RewardFunctionError } from '../processors/rescore-completions/custom-reward.ts'
import { rescoreCompletions } from '../processors/rescore-completions/rescore-completions.ts'
import { REWARD_SOURCE } from '../processors/rescore-completions/rescoring.ts'
import type { Event } from '../schemas/declare/event.ts'
import { rewardDefined } from '../schemas/events/reward.ts'
import { DIALECTS } from '../schemas/events/rollout.ts'
import { encodeEvent } from '../schemas/wire/codec.ts'
import { sourceId } from '../schemas/wire/identity.ts'
import { partitionsOf } from '../schemas/wire/partitions.ts'
import { partitionOf } from '../schemas/wire/routing.ts'
import { DatabaseBusyError } from '../sinks/duckdb/database-errors.ts'
import { DEFAULTS } from '../streams/topology.ts'
import { vocabulary } from '../streams/vocabulary.ts'
import { type DataFolder, openDataFolder } from './data-folder.ts'
import { fraction, globals, oneOfWords, stopSignal } from './options.ts'
import { prepareLog, wiringOn } from './pipeline.ts'
import { number, Progress } from './progress.ts'
import { recordedRewards } from './recorded-rewards.ts'
import { EXAMPLE, REWARD_TIME_LIMIT_S, type RewardFile, readRewardFile } from './reward-file.ts'
import { startTables, tablesOf } from './tables.ts'
import { UsageError } from './usage-error.ts'

interface RescoreOptions {
  reward: string
  name: string
  dialect: (typeof DIALECTS)[number]
  rewardTimeLimit: number
  sink: boolean
}

export function addRescore(program: Command): void {
  program
    .command('rescore')
    .description(
      'another reward function over what is recorded, its rows beside the old ones; nothing is sampled again',
    )
    .requiredOption('--reward <file>', 'a module with `version` and one exported function')
    .requiredOption('--name <name>', 'reward_name of the new rows', rewardName)
    .option(
      '--dialect <name>',
      `how advantages are normalised: ${DIALECTS.join(', ')}`,
      oneOfWords('dialect', DIALECTS),
      DEFAULTS.dialect,
    )
    .option(
      '--reward-time-limit <seconds>',
      'how long the function may take for the completions of one event',
      fraction('reward-time-limit', 0.1, 3_600),
      REWARD_TIME_LIMIT_S,
    )
    .option('--no-sink', 'do not load the new rows into DuckDB')
    .addHelpText(
      'after',
      `\nA reward file:\n${EXAMPLE.replaceAll(/^/gm, '  ')}\n\n` +
        'It is called once for each completion with what is recorded of it: task, answer, parse_error, outcome, dx, dy,\n' +
        'placed, settled, distance_world, recorded_reward, group_id, completion_index, scene_id. See docs/my-own-reward.md.\n\n' +
        'Then:\n  ./plumbline report compare NAME --svg compare.svg\n  ./plumbline sql "from reward_agreement"\n',
    )
    .action(async (options: RescoreOptions, command: Command) => {
      const global = globals(command)
      const signal = stopSignal()
      const reward = await readRewardFile(options.reward, options, options.rewardTimeLimit)
      signal.addEventListener('abort', () => void reward.close(), { once: true })
      const folder = await openDataFolder(global, { create: false }).catch(async (error: unknown) => {
        await reward.close()
        throw error
      })
      try {
        const wiring = await wiringOn(folder, global)
        await prepareLog(folder, wiring)
        const progress = new Progress(`rescore ${reward.name}`, { silent: global.json })
        const swept = await rescore(folder, reward, {
          partitions: wiring.partitions,
          signal,
          onProgress: (records, of) => progress.at(records, of),
        })
        progress.done(
          swept.records === 0
            ? 'nothing new: every recorded completion has this reward'
            : `${number(swept.rows)} completions of ${number(swept.events)} events`,
        )
        if (swept.unreadable > 0 && !global.json)
          process.stderr.write(`  ${swept.unreadable} records could not be read and were left out\n`)
        if (options.sink) await load(folder, signal, global.json)
        if (global.json) process.stdout.write(`${JSON.stringify({ reward_name: reward.name, ...swept })}\n`)
      } finally {
        await reward.close()
        await folder.close()
      }
    })
}

/**
 * Rescores the recorded completions that have not been rescored under this name yet.
 *
 * @throws UsageError when the name belongs to another code, version or dialect, or the function fails.
 */
export async function rescore(
  folder: Pick<DataFolder, 'log' | 'blobs'>,
  reward: RewardFile,
  options: Pick<SweepOptions, 'partitions' | 'signal' | 'onProgress'>,
): Promise<Swept> {
  const { log, blobs } = folder
  const { partitions } = options
  await refuseOtherMeaning(folder, reward)
  const definition = definitionOf(reward)
  const { key, headers, value } = encodeEvent(rewardDefined, definition as unknown as Event)
  try {
    return await sweep(rescoreCompletions(reward), {
      log,
      blobs,
      vocabulary,
      group: `rescore/${reward.name}`,
      preface: [
        {
          topic: rewardDefined.type,
          partition: partitionOf(key, partitionsOf(partitions, rewardDefined.type)),
          record: { key, headers, value },
        },
      ],
      ...options,
    })
  } catch (error) {
    if (!(error instanceof RewardFunctionError)) throw error
    const begun = (await definedAs(folder, reward.name)) !== undefined
    throw new UsageError(
      error.message,
      begun
        ? 'mend the file and take another --name: completions before this one were rescored under this name'
        : 'mend the file and type the same command again: nothing was written',
      { cause: error },
    )
  }
}

/** The id follows from the definition alone; the time is that of the run that makes it. */
function definitionOf(reward: RewardFile): Event<typeof rewardDefined> {
  const { name, version, dialect, file, source, source_sha256 } = reward
  return {
    id: sourceId(['tower/reward_defined', name, String(version), source_sha256, dialect]),
    source: REWARD_SOURCE,
    type: rewardDefined.type,
    version: rewardDefined.version,
    time: new Date().toISOString(),
    clock: 'wall',
    key: name,
    causes: [],
    data: { reward_name: name, reward_version: version, dialect, file, source, source_sha256 },
  }
}

async function refuseOtherMeaning(folder: Pick<DataFolder, 'log' | 'blobs'>, reward: RewardFile): Promise<void> {
  const known = await definedAs(folder, reward.name)
  if (known === undefined) return
  const differences = [
    known.reward_version === reward.version ? '' : `version ${known.reward_version}, now ${reward.version}`,
    known.dialect === reward.dialect ? '' : `dialect ${known.dialect}, now ${reward.dialect}`,
    known.source_sha256 === reward.source_sha256 ? '' : `a file that read otherwise (${known.file})`,
  ].filter((difference) => difference !== '')
  if (differences.length === 0) return
  throw new UsageError(
    `--name ${reward.name}: expected the reward that has this name in the log, and that one has ${differences.join(', ')}`,
    `take another name, e.g. --name ${reward.name}-${reward.version + 1}; rows that are there keep theirs`,
  )
}

async function definedAs(folder: Pick<DataFolder, 'log' | 'blobs'>, name: string) {
  return (await recordedRewards(folder)).find(({ reward_name }) => reward_name === name)
}

/** Loads the new rows, unless a running `plumbline run` does so. */
async function load(folder: DataFolder, signal: AbortSignal, silent: boolean): Promise<void> {
  const sink = startTables(undefined, (message) => process.stderr.write(`plumbline: ${message}\n`))
  try {
    await sink.open({ ...tablesOf(folder), serve: false, wait_ms: 500 })
    while (!signal.aborted && !(await sink.loadOnce(signal)).caught_up);
  } catch (error) {
    if (!(error instanceof DatabaseBusyError)) throw error
    if (!silent) process.stderr.write('rescore: the run that goes on loads the new rows\n')
  } finally {
    await sink.close()
  }
}

function rewardName(text: string): string {
  if (text === REWARD_NAME) {
    throw new UsageError(`--name ${text}: is the reward that scores completions live`, 'take another name')
  }
  if (/^[\w.-]{1,80}$/.test(text)) return text
  throw new UsageError(`--name ${text}: expected letters, digits, dots, dashes and underscores`, 'e.g. --name gentle')
}
