import type { Log } from '../../infra/log/port/log.ts'
import { modelPublished } from '../../schemas/events/model.ts'
import { groupFormed } from '../../schemas/events/rollout.ts'
import { TRAINING_EVENTS } from '../../schemas/events/training.ts'

/** What a consumer reads, also long after it was written. */
const NEEDED = [groupFormed, modelPublished, ...TRAINING_EVENTS].map(({ type }) => type)

/**
 * Has the log keep what consumers need until it is deleted on purpose.
 *
 * @throws LogDeniedError when it would delete some of it by itself and this user may not change that
 */
export async function keepNeededTopics(log: Log, report: (message: string) => void): Promise<void> {
  const kept = await log.keepForEver?.(NEEDED)
  if (kept === undefined) return
  if (kept.changed.length > 0) {
    report(
      `topics that consumers need keep their records from now on, until ./plumbline retain: ${kept.changed.join('; ')}`,
    )
  }
  if (kept.unknown !== undefined) {
    report(`nothing tells whether the broker deletes groups that a consumer has not read: ${kept.unknown}`)
  }
}
