import { rolledBack, runStarted } from '../../../schemas/events/training.ts'
import type { Checkpoint, RunState } from '../consumer-parts.ts'
import type { ConsumerState } from '../consumer-state.ts'
import type { Fork } from '../lineages.ts'
import { numbered } from '../open-groups.ts'
import { FeedRefusal } from '../refusal.ts'
import { subscribed } from './current.ts'
import type { Decisions } from './decisions.ts'
import type { Published } from './staleness.ts'
import { endLeases, rollBackApplied } from './subscribe.ts'

export interface RunWanted {
  readonly run: string
  readonly attempt: string
  readonly world_size: number
  /** The checkpoint to resume from. */
  readonly resume: string | null
  /** Default: that of the run, or consumer/run. */
  readonly lineage: string | null
}

/**
 * Begins an epoch, unless another rank of the same attempt has begun it. Groups that the run leased, applied or made
 * durable after the checkpoint wait again.
 *
 * @throws FeedRefusal
 */
export function startRun(state: ConsumerState, decisions: Decisions, wanted: RunWanted, published: Published): void {
  subscribed(state)
  const { name, run: before } = state
  const begun = state.epochOf(wanted.attempt)
  if (begun !== undefined) {
    expectJoins(state, wanted, begun)
    return
  }
  const from = wanted.resume === null ? undefined : resumable(state, wanted.run, wanted.resume)
  if (from === undefined && state.hasSaved(wanted.run)) {
    const last = state.checkpoints.findLast(({ run }) => run === wanted.run)
    const which =
      last === undefined ? 'none of which can be resumed' : `the last one ${last.checkpoint} at step ${last.step}`
    throw new FeedRefusal(
      'run_exists',
      `consumer ${name}: run ${wanted.run} has checkpoints, ${which}; resume from one of them, or start another run`,
    )
  }
  const epoch = (before?.epoch ?? 0) + 1
  endLeases(state, decisions)
  const { run, attempt, world_size } = wanted
  const checkpoint = from?.checkpoint ?? null
  decisions.add(runStarted, {
    ...{ run, epoch, attempt, world_size, checkpoint, step: from?.step ?? 0 },
    ...lineageOf(state, wanted, from, epoch, published),
  })
  rollBackApplied(state, decisions, checkpoint, { run, epoch })
  if (from === undefined) return
  const after = state.checkpoints.slice(state.checkpoints.indexOf(from) + 1).filter((one) => one.run === run)
  const rows = after.flatMap(({ groups }) =>
    groups.map((group) => ({ run, epoch, checkpoint, was: 'durable' as const, ...numbered(group) })),
  )
  decisions.addRows(rolledBack, rows)
}

function expectJoins(state: ConsumerState, wanted: RunWanted, epoch: number): void {
  const { name } = state
  const run = state.run as RunState
  if (run.epoch !== epoch) {
    throw new FeedRefusal(
      'fenced',
      `consumer ${name}: attempt ${wanted.attempt} began epoch ${epoch}, and epoch ${run.epoch} has begun since; a new start needs an attempt of its own`,
    )
  }
  for (const [field, value] of [
    ['run', run.run],
    ['world_size', run.world_size],
    ['resume', run.checkpoint],
  ] as const) {
    if (wanted[field] === value) continue
    throw new FeedRefusal(
      'invalid',
      `${field}: another rank of attempt ${wanted.attempt} named ${value ?? 'nothing'}, got ${wanted[field] ?? 'nothing'}; all ranks of a start name the same`,
    )
  }
}

function resumable(state: ConsumerState, run: string, checkpoint: string): Checkpoint {
  const found = state.checkpoints.find((one) => one.checkpoint === checkpoint && one.run === run)
  if (found !== undefined) return found
  const where = `consumer ${state.name}: checkpoint ${checkpoint} of run ${run}`
  if (state.isGone(checkpoint)) {
    const kept = state.subscription?.keep_checkpoints
    throw new FeedRefusal(
      'not_resumable',
      `${where} was rolled back, or is older than the last ${kept}, which alone can be resumed`,
    )
  }
  throw new FeedRefusal('unknown_checkpoint', `${where}: expected one that the feed has taken, found none`)
}

/** A version is never used twice: what was published after the checkpoint stays, and the run counts in a child lineage. */
function lineageOf(
  state: ConsumerState,
  { run, lineage: wanted }: RunWanted,
  from: Checkpoint | undefined,
  epoch: number,
  published: Published,
): { readonly lineage: string; readonly forked_from: Fork | null } {
  const lineage = from?.lineage ?? wanted ?? `${state.name}/${run}`
  const last = published.get(lineage)
  const then = from?.policy_version ?? -1
  // What was published before the run began is what it begins with.
  const is_new = from === undefined && !state.hasStarted(run)
  if (is_new || last === undefined || last <= then) return { lineage, forked_from: state.lineages.forkOf(lineage) }
  return { lineage: `${state.lineages.rootOf(lineage)}~${epoch}`, forked_from: { lineage, version: then } }
}
