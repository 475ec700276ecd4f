import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { decodeRecord, decodeUnlessPoison } from '../infra/runtime/execute/decode-record.ts'
import { readRange } from '../infra/runtime/internal/json-records.ts'
import { readPast } from '../infra/verify/places.ts'
import type { DataOf, Event } from '../schemas/declare/event.ts'
import { rewardDefined } from '../schemas/events/reward.ts'
import { vocabulary } from '../streams/vocabulary.ts'
import type { DataFolder } from './data-folder.ts'
import { type RewardFile, readRewardFile } from './reward-file.ts'

export type RecordedReward = DataOf<typeof rewardDefined>

/**
 * Every reward that a log was rescored with, with its code, sorted by name.
 *
 * @throws PoisonError, RecordDamagedError when one cannot be read, unless `pass_unreadable` is set.
 */
export async function recordedRewards(
  { log, blobs }: Pick<DataFolder, 'log' | 'blobs'>,
  { pass_unreadable = false }: { readonly pass_unreadable?: boolean } = {},
): Promise<RecordedReward[]> {
  const byName = new Map<string, RecordedReward>()
  const topic = (await log.topics()).find(({ name }) => name === rewardDefined.type)
  for (let partition = 0; partition < (topic?.partitions ?? 0); partition++) {
    const records = pass_unreadable
      ? readPast(log, rewardDefined.type, partition, () => {})
      : readRange(log, rewardDefined.type, partition, 0n)
    for await (const record of records) {
      const decode = pass_unreadable ? decodeUnlessPoison : decodeRecord
      const event = await decode(record, vocabulary, topic?.partitions ?? 1, blobs)
      if (event === undefined) continue
      const { data } = event as Event<typeof rewardDefined>
      if (!byName.has(data.reward_name)) byName.set(data.reward_name, data)
    }
  }
  return [...byName.values()].sort((a, b) => (a.reward_name < b.reward_name ? -1 : 1))
}

/**
 * Loads the code of a recorded reward in its own thread. The caller must close it.
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
