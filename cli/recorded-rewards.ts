import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { decodeRecord } from '../infra/runtime/decode-record.ts'
import { readRange } from '../infra/runtime/json-records.ts'
import { vocabulary } from '../schemas/catalogue.ts'
import type { DataOf, Event } from '../schemas/event.ts'
import { rewardDefined } from '../schemas/reward.ts'
import type { DataFolder } from './data-folder.ts'
import { type RewardFile, readRewardFile } from './reward-file.ts'

export type RecordedReward = DataOf<typeof rewardDefined>

/** Every reward that a log was rescored with, with its code, in the order of their names. */
export async function recordedRewards({ log, blobs }: Pick<DataFolder, 'log' | 'blobs'>): Promise<RecordedReward[]> {
  const byName = new Map<string, RecordedReward>()
  const topic = (await log.topics()).find(({ name }) => name === rewardDefined.type)
  for (let partition = 0; partition < (topic?.partitions ?? 0); partition++) {
    for await (const record of readRange(log, rewardDefined.type, partition, 0n)) {
      const event = await decodeRecord(record, vocabulary, topic?.partitions ?? 1, blobs)
      const { data } = event as Event<typeof rewardDefined>
      if (!byName.has(data.reward_name)) byName.set(data.reward_name, data)
    }
  }
  return [...byName.values()].sort((a, b) => (a.reward_name < b.reward_name ? -1 : 1))
}

/**
 * Loads the code of a recorded reward, which runs in this process.
 *
 * @throws UsageError when it cannot be loaded from the log alone, e.g. because it imports other files.
 */
export async function loadRecordedReward({ reward_name, dialect, file, source }: RecordedReward): Promise<RewardFile> {
  const dir = await mkdtemp(join(tmpdir(), 'plumbline-reward-'))
  try {
    const path = join(dir, basename(file))
    await writeFile(path, source)
    return await readRewardFile(path, { name: reward_name, dialect })
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}
