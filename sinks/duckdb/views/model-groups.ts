import { EVERY_MODEL, groupsIn } from './contained.ts'
import type { View } from './view.ts'

export const modelGroups: View = {
  name: 'model_groups',
  about:
    'One row per published model, optimiser step and group of that step: what the model was trained on, by the receipts of its trainers.',
  columns: {
    model_id: 'as published, with `trained_at` or with a parent; others have no row',
    fate: 'contained: the weights have learned from it; rolled_back: a run that led to the model took the step, and resumed from before it',
    parent: 'the model that it was trained from, or one further up, whose run took the step; null: its own run did',
    consumer: 'who trained',
    run: 'one training run of the consumer',
    epoch: 'which start or resume of the consumer took the step',
    step: 'optimiser step of the run',
    rank: 'that trained on the group',
    group_id: 'the completions of one prompt share it',
    sequence: "the group's number within the consumer",
    log_partition: 'of its rollout.group_formed',
    log_offset: 'of its rollout.group_formed',
  },
  sql: `
    SELECT name AS model_id, fate, parent, consumer, run, epoch, step, rank, group_id, sequence, log_partition, log_offset
    FROM (${groupsIn(EVERY_MODEL)})`,
}
