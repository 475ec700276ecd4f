import type { EventType } from '../../../schemas/declare/event.ts'

/** The `ce_source` of events that come through `POST /v1/events`; the name of the token follows. */
export const PUBLISHED_SOURCES = '/published/'

/** What only this program appends: its clock, what trainers do, and models, which have a call of their own. */
const OWN = ['clock.', 'training.', 'model.']

/** @returns why events of this type are never taken; undefined when they may be */
export function whyNotPublishable({ type, retention, encoding }: EventType): string | undefined {
  if (retention === 'derived') return `${type} is derived by a processor`
  const own = OWN.find((family) => type.startsWith(family))
  if (own !== undefined) return `${own}* is written by the program itself`
  if (encoding !== 'json') return `${type} is a batch in Arrow, and only facts in JSON are taken`
  return undefined
}

/** Those of these events that `POST /v1/events` may take, if a token is for them. */
export const publishable = (events: readonly EventType[]) =>
  events.filter((type) => whyNotPublishable(type) === undefined)
