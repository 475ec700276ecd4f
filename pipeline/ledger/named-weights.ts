import { literal } from '../../schemas/derive/sql-quoting.ts'
import { EPOCHS, epochsIn, MODELS, type Weights } from '../../sinks/duckdb/views/contained.ts'
import { fed } from '../../sinks/duckdb/views/fed.ts'
import type { Ask, Row } from '../ask-rows.ts'
import { UsageError } from '../usage-error.ts'
import { nearest } from './nearest-names.ts'

/** Weights that a person names: a published model, or a run as it is after its last step. */
export interface NamedWeights {
  readonly name: string
  /** Null for a run. */
  readonly model: {
    readonly role: string
    readonly version: number
    readonly lineage: string
    readonly parent: string | null
    /** Group ids or names of datasets, in the publisher's words. */
    readonly trained_on: readonly string[]
  } | null
  /** Null for a model that no training consumer made. */
  readonly trained_at: {
    readonly consumer: string
    readonly run: string
    readonly epoch: number
    readonly step: number
  } | null
  readonly weights: Weights
}

const PLACE = `SELECT consumer, run, epoch, step FROM`

/**
 * A model by its id, or a run as `CONSUMER/RUN`. A model comes first where both have the name.
 *
 * @throws UsageError with the nearest names when there is neither, and for a model of which nothing is known
 */
export async function weightsNamed(ask: Ask, name: string): Promise<NamedWeights> {
  const [model] = await rows(ask, `SELECT * FROM ${MODELS} WHERE model_id = ${literal(name)}`)
  if (model !== undefined) return modelOf(ask, name, model)
  const run = await runNamed(ask, name)
  if (run !== undefined) return run
  throw new UsageError(`${name}: no such model, and no such run`, await whatThereIs(ask, name))
}

async function modelOf(ask: Ask, name: string, row: Row): Promise<NamedWeights> {
  const trained_at = placeIn(row.trained_at as Row | null)
  const { parent, place, step } = row
  const weights = `(SELECT ${literal(name)} AS name, ${literal(String(place))} AS place, ${Number(step)} AS step)`
  if (trained_at === null && parent === null) {
    throw new UsageError(
      `model ${name}: expected trained_at or a parent, found neither: no training consumer made it, so the ledger has nothing of it`,
      'publish a model with trained_at {consumer, run, epoch, step}: docs/ledger.md',
    )
  }
  if (trained_at !== null) await expectEpoch(ask, name, trained_at)
  return {
    ...{ name, trained_at, weights },
    model: {
      role: String(row.role),
      version: Number(row.version),
      lineage: String(row.lineage),
      parent: parent === null || parent === undefined ? null : String(parent),
      trained_on: ((row.trained_on ?? []) as unknown[]).map(String),
    },
  }
}

/** @throws UsageError when the log has no such epoch, as after the tables were loaded from another log */
async function expectEpoch(ask: Ask, name: string, { consumer, run, epoch }: NonNullable<NamedWeights['trained_at']>) {
  const [found] = await rows(ask, `FROM ${EPOCHS} WHERE consumer = ${literal(consumer)} AND epoch = ${epoch}`)
  if (found?.run === run) return
  const there = found === undefined ? 'no such epoch' : `epoch ${epoch} of run ${found.run}`
  throw new UsageError(
    `model ${name}: expected the epoch of its trained_at, ${consumer}/${run} epoch ${epoch}, found ${there}`,
    './plumbline run --until-idle loads what is in the log; ./plumbline sql "from consumers" shows which consumers there are',
  )
}

async function runNamed(ask: Ask, name: string): Promise<NamedWeights | undefined> {
  const [, consumer = '', run = ''] = /^([^/]+)\/(.+)$/s.exec(name) ?? []
  if (consumer === '') return undefined
  const of_run = `consumer = ${literal(consumer)} AND run = ${literal(run)}`
  const [last] = await rows(ask, `${PLACE} ${EPOCHS} WHERE ${of_run} ORDER BY epoch DESC LIMIT 1`)
  const started = placeIn(last ?? null)
  if (started === null) return undefined
  const [applied] = await rows(
    ask,
    `SELECT max(step) AS step FROM ${fed('training.groups_applied')} WHERE ${of_run} AND epoch = ${started.epoch}`,
  )
  const step = Math.max(started.step, Number(applied?.step ?? 0))
  const place = literal(`${consumer} ${started.epoch}`)
  return {
    ...{ name, model: null, trained_at: { ...started, step } },
    weights: `(SELECT ${literal(name)} AS name, ${place} AS place, ${step} AS step)`,
  }
}

/** At most so many names are listed. */
const MOST = 8

async function whatThereIs(ask: Ask, name: string): Promise<string> {
  const models = await rows(ask, `SELECT model_id AS name FROM ${MODELS}`)
  const runs = await rows(ask, `SELECT DISTINCT consumer || '/' || run AS name FROM ${EPOCHS}`)
  const names = [...models, ...runs].map((row) => String(row.name))
  if (names.length === 0) return 'the tables have no model and no run yet: ./plumbline run --until-idle loads them'
  return `expected a model or CONSUMER/RUN; the nearest: ${nearest(name, names, MOST).join(', ')}`
}

/** An epoch of the runs that led to weights. */
export interface LedThrough {
  readonly consumer: string
  readonly run: string
  readonly epoch: number
  readonly world_size: number
  /** That it resumed from, at `from_step`; null: from nothing. */
  readonly checkpoint: string | null
  readonly from_step: number
  /** The parent model whose run it is of; null: of the run of the weights themselves. */
  readonly parent: string | null
  /** Last step that the weights contain; 0: none. */
  readonly contained_to: number
  /** Of steps and ranks up to there, how many receipts are not in the tables. */
  readonly without_receipt: number
}

/** In the order in which the epochs began. */
export async function epochsOf(ask: Ask, { weights }: NamedWeights): Promise<LedThrough[]> {
  const found = await rows(
    ask,
    `SELECT epochs.consumer, epochs.run, epochs.epoch, epochs.world_size, epochs.checkpoint, epochs.step AS from_step,
      epochs.parent, epochs.contained_to, any_value(epochs.ce_time) AS began,
      count(DISTINCT (applied.step, applied.rank)) FILTER (applied.step <= epochs.contained_to) AS receipts
    FROM ${epochsIn(weights)} AS epochs
    LEFT JOIN ${fed('training.groups_applied')} AS applied
      ON applied.consumer = epochs.consumer AND applied.epoch = epochs.epoch
    GROUP BY ALL
    ORDER BY began, epochs.consumer, epochs.epoch`,
  )
  return found.map((row) => {
    const [contained_to, from_step, world_size] = [row.contained_to, row.from_step, row.world_size].map(Number) as [
      ...Array<number>,
    ] as [number, number, number]
    const expected = Math.max(0, contained_to - from_step) * world_size
    return {
      ...{ consumer: String(row.consumer), run: String(row.run), epoch: Number(row.epoch), world_size },
      ...{ checkpoint: textOrNull(row.checkpoint), from_step, parent: textOrNull(row.parent), contained_to },
      without_receipt: Math.max(0, expected - Number(row.receipts)),
    }
  })
}

const textOrNull = (value: unknown) => (value === null || value === undefined ? null : String(value))

function placeIn(row: Row | null): NamedWeights['trained_at'] {
  if (row === null) return null
  return { consumer: String(row.consumer), run: String(row.run), epoch: Number(row.epoch), step: Number(row.step) }
}

export async function rows(ask: Ask, sql: string): Promise<Row[]> {
  const found: Row[] = []
  for await (const row of ask(sql)) found.push(row)
  return found
}
