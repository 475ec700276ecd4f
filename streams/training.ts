import { FEED_SOURCES, TRAINING_EVENTS } from '../schemas/events/training.ts'
import { consumers } from '../sinks/duckdb/views/consumers.ts'
import { ledger } from '../sinks/duckdb/views/ledger.ts'
import { modelGroups } from '../sinks/duckdb/views/model-groups.ts'
import { staleness } from '../sinks/duckdb/views/staleness.ts'
import { steps } from '../sinks/duckdb/views/steps.ts'
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
  views: () => [ledger, consumers, steps, staleness, modelGroups],
}
