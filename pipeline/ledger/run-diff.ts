import { literal } from '../../schemas/derive/sql-quoting.ts'
import { MODELS } from '../../sinks/duckdb/views/contained.ts'
import { fed } from '../../sinks/duckdb/views/fed.ts'
import type { Ask } from '../ask-rows.ts'
import { epochsOf, type LedThrough, type NamedWeights, rows } from './named-weights.ts'
import { type LedgerStep, type StepGroup, stepsOf } from './steps-of.ts'

/** In which two steps may differ. `base` and `drops` are of whole runs, the others of a step. */
export const KINDS = [
  'base',
  'end',
  'world_size',
  'roll_backs',
  'policy_version',
  'groups',
  'order',
  'sequence',
  'drops',
] as const
export type Kind = (typeof KINDS)[number]
/** Those that may be left out: the others are what weights are made of. */
export const IGNORABLE = ['world_size', 'roll_backs', 'policy_version', 'sequence', 'drops'] as const satisfies Kind[]

export interface Difference {
  readonly kind: Kind
  /** What the first and the second have there. */
  readonly found: readonly [string, string]
}

export interface Diff {
  readonly names: readonly [string, string]
  readonly differs: boolean
  /** The first step that differs; 0: what they were trained from; null: no step differs. */
  readonly step: number | null
  readonly differences: readonly Difference[]
  /** Steps before it that are equal. */
  readonly equal_steps: number
}

/** A step with what else decides what it did to the weights. */
export interface ComparedStep extends LedgerStep {
  readonly world_size: number
  /** The checkpoint, if the run resumed right before this step. */
  readonly resumed: string | null
  /** Last version that the run had published before the step, of the models that name their step; null: none. */
  readonly policy_version: number | null
}

interface Side {
  readonly named: NamedWeights
  readonly base: string
  readonly steps: AsyncGenerator<ComparedStep>
}

/**
 * Compares what two weights were trained on, step by step, up to the first step that differs. Groups are the same when
 * they are the same records of the log; of steps that were rolled back nothing is compared but that they were.
 */
export async function diffOf(
  ask: Ask,
  pair: readonly [NamedWeights, NamedWeights],
  ignore: readonly Kind[] = [],
): Promise<Diff> {
  const counts = ({ kind }: Difference) => !ignore.includes(kind)
  const names = [pair[0].name, pair[1].name] as const
  const [one, other] = [await sideOf(ask, pair[0]), await sideOf(ask, pair[1])]
  const ended = (step: number | null, differences: readonly Difference[], equal_steps: number): Diff => {
    return { names, differs: differences.length > 0, step, differences, equal_steps }
  }
  if (one.base !== other.base) return ended(0, [{ kind: 'base', found: [one.base, other.base] }], 0)
  let equal_steps = 0
  try {
    for (;;) {
      const [{ value: a }, { value: b }] = [await one.steps.next(), await other.steps.next()]
      if (a === undefined && b === undefined) break
      const differences = differencesOf(a, b).filter(counts)
      if (differences.length > 0) {
        const step = Math.min(a?.step ?? Number.POSITIVE_INFINITY, b?.step ?? Number.POSITIVE_INFINITY)
        return ended(step, await withReasons(ask, pair, differences, [a, b]), equal_steps)
      }
      equal_steps += 1
    }
  } finally {
    await one.steps.return(undefined)
    await other.steps.return(undefined)
  }
  return ended(null, (await dropsOf(ask, pair)).filter(counts), equal_steps)
}

/** In what two steps at one place differ; the order of `KINDS`. */
export function differencesOf(a: ComparedStep | undefined, b: ComparedStep | undefined): Difference[] {
  const differ = (kind: Kind, of: (step: ComparedStep) => string): Difference[] => {
    const found = [of(a as ComparedStep), of(b as ComparedStep)] as const
    return found[0] === found[1] ? [] : [{ kind, found }]
  }
  if (a === undefined || b === undefined || a.step !== b.step) {
    const at = (step: ComparedStep | undefined) => (step === undefined ? 'no step any more' : `step ${step.step}`)
    return [{ kind: 'end', found: [at(a), at(b)] }]
  }
  return [
    ...differ('world_size', ({ world_size }) => `${world_size} ranks`),
    ...differ('roll_backs', ({ resumed, step }) =>
      resumed === null ? 'no resume before it' : `resumed after step ${step - 1}`,
    ),
    ...differ('policy_version', ({ policy_version }) =>
      policy_version === null ? 'no version published' : `version ${policy_version} published`,
    ),
    ...groupDifferences(a.groups, b.groups),
  ]
}

const keyOf = ({ log_partition, log_offset }: StepGroup) => `${log_partition}/${log_offset}`

/** At most so many groups are named. */
const MOST = 8

function groupDifferences(a: readonly StepGroup[], b: readonly StepGroup[]): Difference[] {
  const without = (some: readonly StepGroup[], others: readonly StepGroup[]) => {
    const keys = new Set(others.map(keyOf))
    return some.filter((group) => !keys.has(keyOf(group)))
  }
  const only = [without(a, b), without(b, a)] as const
  if (only[0].length > 0 || only[1].length > 0) {
    const named = only.map((groups) => (groups.length === 0 ? 'no others' : `also ${namesOf(groups)}`))
    return [{ kind: 'groups', found: named as unknown as readonly [string, string] }]
  }
  const inOrder = (groups: readonly StepGroup[]) => groups.map((group) => `${group.rank} ${keyOf(group)}`).join(', ')
  if (inOrder(a) !== inOrder(b)) return [{ kind: 'order', found: [byRank(a), byRank(b)] }]
  const at = a.findIndex(({ sequence }, at) => sequence !== b[at]?.sequence)
  if (at < 0) return []
  const numbered = (groups: readonly StepGroup[]) => `${groups[at]?.group_id} is number ${groups[at]?.sequence}`
  return [{ kind: 'sequence', found: [numbered(a), numbered(b)] }]
}

function namesOf(groups: readonly StepGroup[]): string {
  const names = groups.slice(0, MOST).map(({ group_id }) => group_id)
  return [...names, ...(groups.length > MOST ? [`${groups.length - MOST} more`] : [])].join(', ')
}

function byRank(groups: readonly StepGroup[]): string {
  const ranks = [...new Set(groups.map(({ rank }) => rank))]
  return ranks.map((rank) => `rank ${rank}: ${namesOf(groups.filter((group) => group.rank === rank))}`).join('; ')
}

interface Published {
  readonly version: number
  readonly epoch: number
  readonly step: number
  readonly role: string
  /** A model of another run, or one that is not in the log; null: none. */
  readonly parent: string | null
}

async function sideOf(ask: Ask, named: NamedWeights): Promise<Side> {
  const own = (await epochsOf(ask, named)).filter(({ parent }) => parent === null)
  const isContained = ({ epoch, step }: Published) => own.some((one) => one.epoch === epoch && step <= one.contained_to)
  const published = (await publishedBy(ask, named)).filter(isContained)
  const parents = published.flatMap(({ parent }) => parent ?? [])
  if (named.trained_at === null) parents.push(named.model?.parent ?? '')
  return {
    named,
    base: parents.length === 0 ? 'no parent' : [...new Set(parents)].sort().join(', '),
    steps: comparedSteps(
      ask,
      named,
      own,
      published.filter(({ role }) => role === 'policy'),
    ),
  }
}

/** Every model of the run of these weights. */
async function publishedBy(ask: Ask, { trained_at }: NamedWeights): Promise<Published[]> {
  const [consumer, run] = [literal(trained_at?.consumer ?? ''), literal(trained_at?.run ?? '')]
  const of_run = (model: string) => `${model}.trained_at.consumer = ${consumer} AND ${model}.trained_at.run = ${run}`
  const found = await rows(
    ask,
    `SELECT model.version, model.trained_at.epoch AS epoch, model.step, model.role,
      CASE WHEN NOT coalesce(${of_run('parent')}, false) THEN model.parent END AS parent
    FROM ${MODELS} AS model
    LEFT JOIN ${MODELS} AS parent ON parent.model_id = model.parent
    WHERE ${of_run('model')}`,
  )
  return found.map(({ version, epoch, step, role, parent }) => ({
    ...{ version: Number(version), epoch: Number(epoch), step: Number(step), role: String(role) },
    parent: parent === null || parent === undefined ? null : String(parent),
  }))
}

async function* comparedSteps(
  ask: Ask,
  named: NamedWeights,
  epochs: readonly LedThrough[],
  published: readonly Published[],
): AsyncGenerator<ComparedStep> {
  for await (const step of stepsOf(ask, named, "fate = 'contained' AND parent IS NULL")) {
    const epoch = epochs.find((one) => one.epoch === step.epoch)
    const before = published.filter((model) => model.step < step.step).map(({ version }) => version)
    yield {
      ...step,
      world_size: epoch?.world_size ?? 0,
      resumed: epoch?.from_step === step.step - 1 ? epoch.checkpoint : null,
      policy_version: before.length === 0 ? null : Math.max(...before),
    }
  }
}

/** Adds why a side has no group of the other's, where it dropped that. */
async function withReasons(
  ask: Ask,
  pair: readonly [NamedWeights, NamedWeights],
  differences: readonly Difference[],
  steps: readonly [ComparedStep | undefined, ComparedStep | undefined],
): Promise<Difference[]> {
  const found = differences.find(({ kind }) => kind === 'groups')
  if (found === undefined) return [...differences]
  const told = await Promise.all(
    pair.map(async (named, side) => {
      const others = steps[1 - side]?.groups ?? []
      const ids = others.slice(0, 1_024).map(({ group_id }) => literal(group_id))
      const dropped = await rows(
        ask,
        `${dropsIn(named)} AND group_id IN (${ids.join(', ')}) ORDER BY ALL LIMIT ${MOST}`,
      )
      const reasons = dropped.map(({ group_id, reason }) => `${group_id} (${reason})`)
      return reasons.length === 0 ? found.found[side] : `${found.found[side]}; dropped ${reasons.join(', ')}`
    }),
  )
  const explained = { ...found, found: told as unknown as readonly [string, string] }
  return differences.map((one) => (one === found ? explained : one))
}

/** What the run of these weights dropped in its epochs up to theirs. */
function dropsIn({ trained_at }: NamedWeights): string {
  const { consumer, run, epoch } = trained_at ?? { consumer: '', run: '', epoch: 0 }
  return `SELECT group_id, reason FROM ${fed('training.groups_dropped')}
    WHERE consumer = ${literal(consumer)} AND run = ${literal(run)} AND epoch <= ${epoch}`
}

async function dropsOf(ask: Ask, [one, other]: readonly [NamedWeights, NamedWeights]): Promise<Difference[]> {
  const only = async (a: NamedWeights, b: NamedWeights) => {
    const found = await rows(ask, `(${dropsIn(a)}) EXCEPT (${dropsIn(b)}) ORDER BY ALL LIMIT ${MOST + 1}`)
    if (found.length === 0) return 'no others'
    const named = found.slice(0, MOST).map(({ group_id, reason }) => `${group_id} (${reason})`)
    return `also dropped ${named.join(', ')}${found.length > MOST ? ', …' : ''}`
  }
  const found = [await only(one, other), await only(other, one)] as const
  return found[0] === found[1] ? [] : [{ kind: 'drops', found }]
}
