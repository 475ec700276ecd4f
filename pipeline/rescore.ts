import { type SweepOptions, type Swept, sweep } from '../infra/runtime/rebuild/sweep.ts'
import { RewardFunctionError } from '../processors/rescore-completions/custom-reward.ts'
import { rescoreCompletions } from '../processors/rescore-completions/rescore-completions.ts'
import { REWARD_SOURCE } from '../processors/rescore-completions/rescoring.ts'
import type { Event } from '../schemas/declare/event.ts'
import { rewardDefined } from '../schemas/events/reward.ts'
import { encodeEvent } from '../schemas/wire/codec.ts'
import { sourceId } from '../schemas/wire/identity.ts'
import { homesOf } from '../schemas/wire/routing.ts'
import { vocabulary } from '../streams/vocabulary.ts'
import type { DataFolder } from './data-folder.ts'
import { recordedRewards } from './recorded-rewards.ts'
import type { RewardFile } from './reward-file.ts'
import { UsageError } from './usage-error.ts'

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
      preface: homesOf(rewardDefined, key, partitions).map((partition) => ({
        topic: rewardDefined.type,
        partition,
        record: { key, headers, value },
      })),
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
