import { fed } from './fed.ts'

/*
 * What weights were trained on, as table expressions.
 *
 * A *place* is where optimiser steps are counted: an epoch, as `CONSUMER EPOCH`. Weights at a step of a place have taken
 * the steps of that epoch so far, and those before it: the checkpoint that the epoch resumed from is a step of another
 * place, and so is each model that the run was trained from. A model that no training consumer made is the place
 * `model MODEL_ID`, so that its parents are found too. It cannot be an epoch: consumer's names are without spaces, and
 * epochs are numbers.
 */

const placeOf = (row: string) => `${row}.consumer || ' ' || ${row}.epoch`

/** Every model, with its place and step. Of two that have one id, the first to be published counts. */
export const MODELS = `(
      SELECT model_id, role, version, lineage, parent, trained_at, trained_on,
        CASE WHEN trained_at IS NULL THEN 'model ' || model_id ELSE ${placeOf('trained_at')} END AS place,
        coalesce(trained_at.step, 0) AS step
      FROM model.published
      QUALIFY row_number() OVER (PARTITION BY model_id ORDER BY ce_time, ce_id) = 1
    )`

/** Every epoch, with its place. */
export const EPOCHS = `(
      SELECT consumer, run, epoch, world_size, lineage, checkpoint, step, number, ce_time, ${placeOf('started')} AS place
      FROM ${fed('training.run_started')} AS started
    )`

/** From a step of a place on, weights contain another place up to a step: of a resumed checkpoint, or of a parent. */
const LED_TO = `(
        SELECT started.place, 0 AS step, NULL::VARCHAR AS parent,
          started.consumer || ' ' || arg_max(saved.epoch, saved.number) AS from_place,
          arg_max(saved.step, saved.number) AS from_step
        FROM ${EPOCHS} AS started
        JOIN ${fed('training.checkpoint_saved')} AS saved
          ON saved.consumer = started.consumer AND saved.run = started.run AND saved.checkpoint = started.checkpoint
            AND saved.epoch < started.epoch
        WHERE saved."row" = 0
        GROUP BY started.place, started.consumer
        UNION ALL
        SELECT model.place, min(model.step) AS step, parent.model_id AS parent,
          any_value(parent.place) AS from_place, any_value(parent.step) AS from_step
        FROM ${MODELS} AS model
        JOIN ${MODELS} AS parent ON parent.model_id = model.parent
        WHERE model.trained_at IS NULL OR parent.trained_at IS NULL
          OR model.trained_at.consumer <> parent.trained_at.consumer OR model.trained_at.run <> parent.trained_at.run
        GROUP BY model.place, parent.model_id
      )`

/** Weights to look at, as `name`, `place` and `step`. */
export type Weights = string

export const EVERY_MODEL: Weights = `(SELECT model_id AS name, place, step FROM ${MODELS})`

/**
 * The places that weights contain, up to which step, and through which parent: a SELECT of `name`, `parent` (null: their
 * own run), `place` and `step`. A parent of the same run adds nothing: checkpoints say what these weights have of it.
 */
export const placesIn = (weights: Weights): string => `
      WITH RECURSIVE reached(name, parent, place, step) AS (
        SELECT name, NULL::VARCHAR, place, step::BIGINT FROM ${weights}
        UNION
        SELECT reached.name, coalesce(led.parent, reached.parent), led.from_place, led.from_step::BIGINT
        FROM reached
        JOIN ${LED_TO} AS led ON led.place = reached.place AND led.step <= reached.step
      )
      SELECT name, CASE WHEN bool_or(parent IS NULL) THEN NULL ELSE min(parent) END AS parent, place, max(step) AS step
      FROM reached
      GROUP BY name, place`

/**
 * Every epoch of the runs that led to weights, up to the last one that is in them: `name`, `parent`, the columns of
 * `EPOCHS`, and `contained_to`, the last step of the epoch that the weights contain. 0: none, the epoch is rolled back.
 * `later` tells whether the weights contain a later epoch of the run: then the steps after are rolled back.
 */
export const epochsIn = (weights: Weights): string => `(
      SELECT ran.name, ran.parent, epochs.*, coalesce(places.step, 0) AS contained_to, epochs.epoch < ran.epoch AS later
      FROM (
        SELECT places.name, epochs.consumer, epochs.run, max(epochs.epoch) AS epoch,
          CASE WHEN bool_or(places.parent IS NULL) THEN NULL ELSE min(places.parent) END AS parent
        FROM (${placesIn(weights)}) AS places
        JOIN ${EPOCHS} AS epochs ON epochs.place = places.place
        GROUP BY places.name, epochs.consumer, epochs.run
      ) AS ran
      JOIN ${EPOCHS} AS epochs
        ON epochs.consumer = ran.consumer AND epochs.run = ran.run AND epochs.epoch <= ran.epoch
      LEFT JOIN (${placesIn(weights)}) AS places ON places.name = ran.name AND places.place = epochs.place
    )`

/** Every group that weights contain, or that a run that led to them took a step on and rolled back. */
export const groupsIn = (weights: Weights): string => `
    SELECT
      epochs.name,
      CASE WHEN applied.step <= epochs.contained_to THEN 'contained' ELSE 'rolled_back' END AS fate,
      epochs.parent,
      applied.consumer,
      applied.run,
      applied.epoch,
      applied.step,
      applied.rank,
      applied.group_id,
      applied.sequence,
      applied."partition" AS log_partition,
      applied."offset" AS log_offset,
      applied.number,
      applied."row"
    FROM ${fed('training.groups_applied')} AS applied
    JOIN ${epochsIn(weights)} AS epochs
      ON epochs.consumer = applied.consumer AND epochs.epoch = applied.epoch
    WHERE applied.step <= epochs.contained_to OR epochs.later`
