import type { Wanted } from './decide/subscribe.ts'

/** A subscription without options. */
export const DEFAULT_SUBSCRIPTION: Wanted = {
  filter: {
    origin: null,
    task: null,
    dialect: null,
    reward_name: null,
    lineages: null,
    with_variance: false,
    purposes: ['train'],
  },
  order: 'arrival',
  order_seed: '',
  order_window: 1,
  max_staleness: null,
  without_version: 'until_published',
  lease_ms: 60_000,
  keep_checkpoints: 16,
  transport: 'http',
}
