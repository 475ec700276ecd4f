import { checkpointSaved } from '../../../schemas/events/training.ts'
import type { RunState } from '../consumer-parts.ts'
import type { ConsumerState } from '../consumer-state.ts'
import type { OpenGroup } from '../open-groups.ts'
import { FeedRefusal, type RefusalDetails } from '../refusal.ts'
import { current } from './current.ts'
import { type Decisions, partsOf, placeOf } from './decisions.ts'
import type { Published } from './staleness.ts'

export interface CheckpointWanted {
  readonly epoch: number
  readonly checkpoint: string
  readonly parent: string | null
  readonly step: number
  readonly weights_sha256: string
  /** Sequence numbers: exactly the groups since the parent. */
  readonly groups: readonly number[]
}

/**
 * Makes the groups of a checkpoint durable. The same checkpoint again changes nothing.
 *
 * @returns how many groups
 * @throws FeedRefusal with the groups, ranks or step that are wrong
 */
export function saveCheckpoint(
  state: ConsumerState,
  decisions: Decisions,
  wanted: CheckpointWanted,
  published: Published,
): number {
  const { run } = current(state, { epoch: wanted.epoch, rank: 0 })
  const { checkpoint, parent, step, weights_sha256 } = wanted
  const known = state.checkpoints.find((one) => one.checkpoint === checkpoint)
  if (known !== undefined || state.isGone(checkpoint)) return expectSame(known, wanted)
  const last = parentOf(state, run)
  if (parent !== last) {
    throw new FeedRefusal(
      'incomplete',
      `checkpoint ${checkpoint}: expected parent ${last ?? 'null'}, got ${parent ?? 'null'}`,
    )
  }
  const groups = contained(state, run, wanted)
  if (groups.length === 0) {
    throw new FeedRefusal(
      'incomplete',
      `checkpoint ${checkpoint}: no group was applied since its parent; there is nothing to save`,
    )
  }
  const rows = groups.map((group) => ({
    ...{ run: run.run, epoch: run.epoch, checkpoint, parent, step, world_size: run.world_size, weights_sha256 },
    ...{ policy_version: state.lineages.current(run.lineage, published) ?? null },
    ...{ parts: 1, groups: groups.length, sequence: group.sequence, ...placeOf(group) },
  }))
  const parts = partsOf(rows).length
  decisions.addRows(
    checkpointSaved,
    rows.map((row) => ({ ...row, parts })),
  )
  return groups.length
}

function expectSame(known: ConsumerState['checkpoints'][number] | undefined, wanted: CheckpointWanted): number {
  const named = new Set(wanted.groups)
  if (
    known?.step === wanted.step &&
    known.weights_sha256 === wanted.weights_sha256 &&
    known.groups.length === named.size &&
    known.groups.every(({ sequence }) => named.has(sequence))
  ) {
    return known.groups.length
  }
  throw new FeedRefusal(
    'invalid',
    `checkpoint ${wanted.checkpoint}: another checkpoint has this id; give each an id of its own`,
  )
}

/** The last checkpoint of this epoch, or the one that the run resumed from. */
const parentOf = ({ checkpoints }: ConsumerState, { run, epoch, checkpoint }: RunState): string | null =>
  checkpoints.findLast((one) => one.run === run && one.epoch === epoch)?.checkpoint ?? checkpoint

/** The groups that a checkpoint at this step contains. @throws FeedRefusal unless they are exactly those named */
function contained(state: ConsumerState, run: RunState, { checkpoint, step, groups }: CheckpointWanted): OpenGroup[] {
  const named = new Set(groups)
  const inside = [...state.open.values()]
    .filter(({ state: is, applied_in = 0 }) => is === 'applied' && applied_in <= step)
    .sort((one, other) => one.sequence - other.sequence)
  const there = new Set(inside.map(({ sequence }) => sequence))
  const ranks = Array.from({ length: run.world_size }, (_, rank) => rank)
    .map((rank) => ({ step: state.rank(rank).applied + 1, rank }))
    .filter((rank) => rank.step <= step)
  const wrong: RefusalDetails = {
    ...list(
      'missing',
      inside.map(({ sequence }) => sequence).filter((sequence) => !named.has(sequence)),
    ),
    ...list(
      'superfluous',
      [...named].filter((sequence) => !there.has(sequence)),
    ),
    ...list(
      'later',
      inside.filter(({ begun_in = 0 }) => begun_in > step).map(({ sequence }) => sequence),
    ),
    ...(ranks.length === 0 ? {} : { ranks }),
    ...(state.broken_step !== undefined && state.broken_step <= step ? { broken_step: state.broken_step } : {}),
  }
  const [first] = Object.keys(wrong)
  if (first === undefined) return inside
  throw new FeedRefusal(
    'incomplete',
    `checkpoint ${checkpoint} at step ${step}: ${WORDS[first as keyof typeof WORDS]}`,
    wrong,
  )
}

const WORDS = {
  missing: 'groups that were applied since its parent are not named',
  superfluous: 'groups are named that were not applied up to this step',
  later: 'a later step uses groups of it',
  ranks: 'the receipts of some ranks are missing',
  broken_step: 'a rank lost its lease within a step that it contains; resume from an earlier checkpoint',
}

const list = (name: 'missing' | 'superfluous' | 'later', sequences: readonly number[]) =>
  sequences.length === 0 ? {} : { [name]: sequences }
