import type { DROP_REASONS } from '../../../schemas/events/training.ts'
import type { RunState, Subscription } from '../consumer-parts.ts'
import type { ConsumerState } from '../consumer-state.ts'
import type { FormedGroup } from '../open-groups.ts'

/** The last published version of each lineage. */
export type Published = ReadonlyMap<string, number>

export interface TooOld {
  readonly reason: (typeof DROP_REASONS)[number]
  readonly detail: string
}

/**
 * Why a group must not be trained on, if so. Until the run has published a model, every group is fresh but those of
 * models that a resume has undone.
 */
export function staleness(
  state: ConsumerState,
  { lineage }: RunState,
  { max_staleness, without_version }: Subscription,
  published: Published,
  group: Pick<FormedGroup, 'policy_version_oldest' | 'lineage'>,
): TooOld | undefined {
  const current = state.lineages.current(lineage, published)
  const { policy_version_oldest: version } = group
  const standing =
    version === null || group.lineage === null ? undefined : state.lineages.standing(lineage, group.lineage, version)
  if (current === undefined && standing !== 'undone') return undefined
  if (version === null || standing === undefined) {
    if (without_version === 'always') return undefined
    return { reason: 'no_version', detail: `the run has published version ${current}, and the group has no version` }
  }
  if (standing !== 'included') {
    return {
      reason: 'other_lineage',
      detail: `expected lineage ${lineage} or one that it forked from, got ${group.lineage} version ${version}`,
    }
  }
  if (current === undefined || max_staleness === null || current - version <= max_staleness) return undefined
  return {
    reason: 'stale',
    detail: `version ${version} is ${current - version} behind ${current}, expected at most ${max_staleness}`,
  }
}
