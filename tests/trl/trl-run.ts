import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { outputOf, start } from '../../testing/program.ts'
import { assertInstalled, python, sampled } from './python.ts'

export interface TrlRunOptions {
  /** Optimiser steps of each trainer. */
  readonly steps: number
  /** Optimiser steps between two checkpoints. */
  readonly save: number
  /** The trainer kills itself after this step, which no checkpoint contains. */
  readonly die_after: number
  /** One of `VARIANTS` in python/tests_torch/train_tiny.py. */
  readonly variant: string
  /** Optimiser steps that the variant takes on the same groups. */
  readonly steps_per_round?: number
  readonly lora?: boolean
  readonly report?: (line: string) => void
}

export interface Trained {
  readonly epoch: number
  readonly steps: number
  /** Of the file of weights in the last checkpoint. */
  readonly sha256: string
}

export interface TrlRun {
  readonly formed: number
  readonly alone: Trained
  /** The steps whose receipts were taken before the kill. */
  readonly before: readonly number[]
  readonly resumed: Trained
  /** Of the consumer whose trainer was killed, as SQL tells it. */
  readonly ledger: readonly { readonly state: string; readonly rows: number; readonly groups: number }[]
  readonly times_durable: readonly { readonly times: number; readonly groups: number }[]
  readonly verify: string
}

const GROUPS = 2
const SIZE = 4

export const LEDGER_SQL =
  "select state, count(*)::int as rows, count(distinct group_id)::int as groups from ledger where consumer = 'killed' group by state"
export const TIMES_SQL =
  'select times, count(*)::int as groups from (select sequence, count(*)::int as times from training.checkpoint_saved ' +
  "where consumer = 'killed' group by sequence) group by times"

/**
 * A random Qwen3-VL samples groups with pictures, and TRL trains on them: once left alone, and once killed and resumed,
 * as two consumers that are given the same groups.
 */
export async function trlRun({ report = () => {}, ...options }: TrlRunOptions): Promise<TrlRun> {
  assertInstalled()
  const { steps, save, die_after, variant, steps_per_round = 1, lora = false } = options
  const folder = mkdtempSync(join(tmpdir(), 'plumbline-trl-'))
  const stops: (() => Promise<unknown>)[] = []
  try {
    const plumbline = (...args: string[]) => outputOf(args, start(args, { cwd: folder }).ended)
    const rows = async <T>(statement: string) =>
      JSON.parse(await plumbline('sql', statement, '--format', 'json')) as T[]

    const formed = (steps / steps_per_round) * GROUPS
    const url = await sampled({ folder, size: SIZE, groups: formed }, stops)
    report(`${formed} groups of ${SIZE} completions, each with a picture, sampled by the tiny model`)

    const train = (consumer: string, ...more: string[]) =>
      python([
        ...['-m', 'tests_torch.train_tiny', '--url', url, '--consumer', consumer, '--variant', variant],
        ...['--blobs', join(folder, 'data', 'blobs'), '--output', join(folder, consumer)],
        ...['--steps', String(steps), '--save', String(save), '--groups', String(GROUPS), '--size', String(SIZE)],
        ...(lora ? ['--lora'] : []),
        ...more,
      ])

    const alone = await train('alone').last<Trained>()
    report(`left alone: ${alone.steps} steps, weights ${alone.sha256}`)
    const dying = train('killed', '--die-after', String(die_after))
    const before = (await dying.untilKilled<{ step: number }>()).map(({ step }) => step)
    report(`killed with SIGKILL after step ${before.at(-1)}, ${die_after % save} steps after its last checkpoint`)
    const resumed = await train('killed').last<Trained>()
    report(`resumed in epoch ${resumed.epoch}: ${resumed.steps} steps, weights ${resumed.sha256}`)

    await plumbline('run', '--until-idle')
    return {
      ...{ formed, alone, before, resumed },
      ledger: await rows(LEDGER_SQL),
      times_durable: await rows(TIMES_SQL),
      verify: await plumbline('verify'),
    }
  } finally {
    for (const stop of stops.reverse()) await stop()
    rmSync(folder, { recursive: true, force: true })
  }
}
