import type { Event } from '../../schemas/declare/event.ts'
import { completionsSampled } from '../../schemas/events/policy.ts'
import { completionsScored } from '../../schemas/events/tower.ts'
import type { Histories } from '../conformance/histories.ts'
import { histories as ofGroups } from '../form-groups/conformance-histories.ts'
import { isA } from '../processor.ts'

/** The histories of form-groups, less what is no input here: scores, and completions that decoding refuses. */
export const histories: Histories = ofGroups.map((events) => events.filter(isInput))

function isInput(event: Event): boolean {
  if (isA(event, completionsSampled)) return event.data.every(({ completion_index }) => completion_index >= 0)
  return !isA(event, completionsScored)
}
