import type { EventType } from '../declare/event.ts'
import { catalogueOf } from '../declare/registry.ts'
import { clockTicked } from './clock.ts'
import { modelPublished } from './model.ts'
import { completionsSampled } from './policy.ts'
import { completionsRescored, rewardDefined } from './reward.ts'
import { completionRejected, groupExpired, groupFormed, rolloutRequested } from './rollout.ts'
import { completionsScored, scenePresented } from './tower.ts'

/** Every event type, in the order in which a scene becomes a group. */
export const catalogue: readonly EventType[] = [
  scenePresented,
  rolloutRequested,
  completionsSampled,
  completionsScored,
  groupFormed,
  groupExpired,
  completionRejected,
  rewardDefined,
  completionsRescored,
  modelPublished,
  clockTicked,
]

/** The same, indexed by type, for decoding records. */
export const vocabulary = catalogueOf(catalogue)
