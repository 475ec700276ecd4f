import { openLmdbLog } from '../infra/log/lmdb/lmdb-log.ts'
import { topicsOf } from '../infra/runtime/state/topics.ts'
import { paperScorer } from '../processors/score-completions/paper-scorer.ts'
import { scoreCompletions } from '../processors/score-completions/score-completions.ts'
import type { DataOf, Event } from '../schemas/declare/event.ts'
import { completionsScored } from '../schemas/events/tower.ts'
import { encodeEvent } from '../schemas/wire/codec.ts'
import { sourceId } from '../schemas/wire/identity.ts'
import { partitionOf } from '../schemas/wire/routing.ts'
import { catalogue } from '../streams/vocabulary.ts'
import { emittedBy, PARTITIONS, sampledGroups } from './tower-log.ts'

/** How many groups are really scored; the others are copies of them with new ids. */
const SCORED_GROUPS = 100
const TRANSACTION = 500

/** Makes a log in which the completions of `groups` groups are scored, 16 to a group. */
export async function recordScoredCompletions(dir: string, groups: number): Promise<void> {
  const sampled = await sampledGroups(Math.min(groups, SCORED_GROUPS))
  const scored = await emittedBy(scoreCompletions(await paperScorer()), sampled)
  const log = await openLmdbLog({ dir, durability: 'survives_kill_only' })
  await log.createTopics(topicsOf(catalogue, [], PARTITIONS))
  const producer = await log.producer({ transactional_id: 'bench' })
  for (let from = 0; from < groups; from += TRANSACTION) {
    const transaction = producer.begin()
    for (let index = from; index < Math.min(from + TRANSACTION, groups); index++) {
      const original = scored[index % scored.length]?.event as Event<typeof completionsScored>
      const { key, headers, value } = encodeEvent(completionsScored, again(original, index))
      transaction.append(completionsScored.type, partitionOf(key, PARTITIONS), { key, headers, value })
    }
    await transaction.commit()
  }
  await log.close()
}

function again(event: Event<typeof completionsScored>, index: number): Event {
  const name = (what: string) => sourceId(['bench', what, String(index)])
  const group_id = name('group')
  const ids = { group_id, sampled_id: name('sampled'), attempt_id: name('attempt'), scene_id: name('scene') }
  const data: DataOf<typeof completionsScored> = event.data.map((row) => ({ ...row, ...ids }))
  return { ...event, id: name('scored'), key: group_id, causes: [ids.sampled_id], correlation: group_id, data }
}
