import { memoryLog } from '../../infra/log/memory/memory-log.ts'
import { asFold } from '../../infra/runtime/execute/effect-fold.ts'
import { execute } from '../../infra/runtime/execute/execution.ts'
import { type RerunOptions, reachOf, rerun } from '../../infra/runtime/state/rerun.ts'
import { restoreState } from '../../infra/runtime/state/state-store.ts'
import type { Fold, Processor } from '../../processors/processor.ts'
import { ASKING, derivingOf, vocabulary } from './stages.ts'
import type { World } from './world.ts'

type States = readonly [key: string, state: unknown][]

/** Options for reading the log again, through a handle without faults. */
export function reading(world: World): RerunOptions {
  const log = memoryLog({ broker: world.broker })
  return { log, blobs: world.blobs, vocabulary, partitions: world.inputs.partitions }
}

/** State restored from snapshot and changelog must equal state restored from the changelog alone. */
export async function compareRestored(world: World, found: string[]): Promise<void> {
  for (const processor of world.stages) {
    for (let partition = 0; partition < world.inputs.partitions; partition++) {
      const quick = await restored(world, processor, partition, { without_snapshots: false })
      const whole = await restored(world, processor, partition, { without_snapshots: true })
      const where = `${processor.name} partition ${partition}: state from snapshot and changelog`
      compare(where, whole, 'as from the changelog alone', quick, found)
    }
  }
}

/** State in the changelogs must equal state recomputed from the inputs, even where no output depends on it yet. */
export async function compareRebuilt(world: World, found: string[]): Promise<void> {
  for (const stage of derivingOf(world.inputs)) {
    const processor = stage.create(stage.variant)
    for (let partition = 0; partition < world.inputs.partitions; partition++) {
      const execution = execute(processor, reachOf(world))
      for await (const _ of rerun(execution, stage.name, partition, stage.create, reading(world)));
      const actual = await restored(world, processor, partition, { without_snapshots: true })
      const where = `${stage.name} partition ${partition}: state from the changelog`
      compare(where, execution.states(), 'as computed again', actual, found)
    }
  }
}

/** No key may be left in any state, except internal ones: state that is never forgotten grows for ever. */
export async function checkForgotten(world: World, found: string[]): Promise<void> {
  for (const processor of world.stages) {
    for (let partition = 0; partition < world.inputs.partitions; partition++) {
      const states = await restored(world, processor, partition, { without_snapshots: false })
      const left = states.filter(([key]) => !key.startsWith('\u0000'))
      if (left.length === 0) continue
      found.push(`${processor.name} partition ${partition}: expected nothing in its state, got ${JSON.stringify(left)}`)
    }
  }
}

async function restored(
  world: World,
  processor: Processor,
  partition: number,
  how: { readonly without_snapshots: boolean },
): Promise<States> {
  const fold = processor === ASKING ? asFold(ASKING) : (processor as Fold)
  const { execution } = await restoreState(fold, partition, { ...reading(world), ...how })
  return execution.states()
}

/** Reports only the first key that differs. */
function compare(where: string, expected: States, as: string, actual: States, found: string[]): void {
  const [right, got] = [new Map(expected), new Map(actual)]
  for (const key of new Set([...right.keys(), ...got.keys()])) {
    const [one, other] = [JSON.stringify(right.get(key)), JSON.stringify(got.get(key))]
    if (one === other) continue
    found.push(`${where}: ${JSON.stringify(key)}: expected ${one ?? 'nothing'}, ${as}, got ${other ?? 'nothing'}`)
    return
  }
}
