import { fed } from './fed.ts'
import type { View } from './view.ts'

/** What the ranks began and completed: a row for each step of an epoch. */
const TAKEN = `
        SELECT consumer, run, epoch, step, NULL::VARCHAR AS checkpoint,
          count(DISTINCT rank) FILTER (completed) AS ranks,
          count(*) FILTER (NOT completed) AS groups,
          avg(loss) AS loss, avg(grad_norm) AS grad_norm, sum(tokens)::BIGINT AS tokens, max(seconds) AS seconds
        FROM (
          SELECT consumer, run, epoch, step, rank, true AS completed, loss, grad_norm, tokens, seconds
          FROM ${fed('training.step_completed')}
          UNION ALL BY NAME
          SELECT consumer, run, epoch, step, rank, false AS completed FROM ${fed('training.step_begun')}
        )
        GROUP BY consumer, run, epoch, step`

/** The same for each step with the first checkpoint at or after it in its epoch. Sorted, since a join would be quadratic. */
const CONTAINED = `
      SELECT * REPLACE (
        first_value(checkpoint IGNORE NULLS) OVER (
          PARTITION BY consumer, run, epoch
          ORDER BY step, checkpoint NULLS FIRST
          ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        ) AS checkpoint
      )
      FROM (${TAKEN}
        UNION ALL BY NAME
        SELECT DISTINCT consumer, run, epoch, step, checkpoint FROM ${fed('training.checkpoint_saved')} WHERE "row" = 0
      )`

/**
 * Each epoch, whether it is over, and the earliest step that a later epoch of its run resumed from: what came after that
 * is undone, and so is what no checkpoint of an epoch contains that is over.
 */
const EPOCHS = `(
      SELECT consumer, run, epoch, world_size,
        min(step) OVER (
          PARTITION BY consumer, run ORDER BY epoch ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
        ) AS undone_after,
        epoch < max(epoch) OVER (PARTITION BY consumer)
          OR consumer IN (SELECT consumer FROM ${fed('training.consumer_retired')}) AS is_over
      FROM ${fed('training.run_started')}
    )`

export const steps: View = {
  name: 'steps',
  about: 'One row per optimiser step of an epoch: what its ranks measured, and whether a checkpoint contains it.',
  columns: {
    consumer: 'who trains',
    run: 'one training run of the consumer',
    epoch: 'which start or resume of the consumer; a step that was rolled back is taken again in a later one',
    step: 'counts the optimiser steps of the run',
    state:
      'begun: not every rank has completed it; applied; durable: a checkpoint contains it; rolled_back: it is in no weights that are left',
    world_size: 'ranks of the epoch',
    ranks: 'how many of them have completed it',
    groups: 'that the ranks began it with',
    loss: 'mean over the ranks that measured it',
    grad_norm: 'mean over the ranks that measured it',
    tokens: 'sum over the ranks that measured it',
    seconds: 'of the slowest rank that measured it',
    checkpoint: 'the first one that contains it; null unless durable',
  },
  sql: `
    SELECT
      taken.consumer,
      taken.run,
      taken.epoch,
      taken.step,
      CASE
        WHEN epochs.undone_after < taken.step THEN 'rolled_back'
        WHEN taken.checkpoint IS NOT NULL THEN 'durable'
        WHEN epochs.is_over THEN 'rolled_back'
        WHEN taken.ranks >= epochs.world_size THEN 'applied'
        ELSE 'begun'
      END AS state,
      epochs.world_size,
      taken.ranks,
      taken.groups,
      taken.loss,
      taken.grad_norm,
      taken.tokens,
      taken.seconds,
      CASE WHEN state = 'durable' THEN taken.checkpoint END AS checkpoint
    FROM (${CONTAINED}) AS taken
    LEFT JOIN ${EPOCHS} AS epochs
      ON epochs.consumer = taken.consumer AND epochs.run = taken.run AND epochs.epoch = taken.epoch
    WHERE taken.ranks IS NOT NULL`,
}
