import type { Command } from 'commander'
import { REWARD_NAME } from '../environments/tower/reward.ts'
import { type DataFolder, openDataFolder } from '../pipeline/data-folder.ts'
import { rescore } from '../pipeline/rescore.ts'
import { EXAMPLE, REWARD_TIME_LIMIT_S, readRewardFile } from '../pipeline/reward-file.ts'
import { startTables, tablesOf } from '../pipeline/tables.ts'
import { number } from '../pipeline/text/number.ts'
import { UsageError } from '../pipeline/usage-error.ts'
import { prepareLog, wiringOn } from '../pipeline/wiring.ts'
import { DIALECTS } from '../schemas/events/rollout.ts'
import { DatabaseBusyError } from '../sinks/duckdb/database-errors.ts'
import { DEFAULTS } from '../streams/topology.ts'
import { fraction, globals, oneOfWords, stopSignal } from './options.ts'
import { Progress } from './progress.ts'

interface RescoreOptions {
  reward: string
  name: string
  dialect: (typeof DIALECTS)[number]
  rewardTimeLimit: number
  sink: boolean
}

export function addRescore(command: Command): void {
  command
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
      'time limit of the function for the completions of one event',
      fraction('reward-time-limit', 0.1, 3_600),
      REWARD_TIME_LIMIT_S,
    )
    .option('--no-sink', 'do not load the new rows into DuckDB')
    .addHelpText(
      'after',
      `\nA reward file:\n${EXAMPLE.replaceAll(/^/gm, '  ')}\n\n` +
        'It is called once per completion with its recorded task, answer, parse_error, outcome, dx, dy, placed, settled,\n' +
        'distance_world, recorded_reward, group_id, completion_index and scene_id. See docs/my-own-reward.md.\n\n' +
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

/** Loads the new rows, unless a running `plumbline run` does so. */
async function load(folder: DataFolder, signal: AbortSignal, silent: boolean): Promise<void> {
  const sink = startTables(undefined, (message) => process.stderr.write(`plumbline: ${message}\n`))
  try {
    await sink.open({ ...tablesOf(folder), serve: false, wait_ms: 500 })
    while (!signal.aborted && !(await sink.loadOnce(signal)).caught_up);
  } catch (error) {
    if (!(error instanceof DatabaseBusyError)) throw error
    if (!silent) process.stderr.write('rescore: a running `plumbline run` loads the new rows\n')
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
