import { TRAINING_EVENTS } from '../schemas/events/training.ts'
import { FEED_SOURCES } from '../sinks/feed/feed-source.ts'
import type { Domain } from './domain.ts'

/** What trainers were given, what they did with it, and what they made durable. */
export const training: Domain = {
  name: 'training',
  about: 'groups that training consumers lease, apply and make durable',
  builds_on: ['rollouts'],
  events: TRAINING_EVENTS,
  sources: [],
  commands: [{ name: 'feed', ce_sources: [FEED_SOURCES], outputs: TRAINING_EVENTS }],
  stages: async () => [],
  views: () => [],
}
