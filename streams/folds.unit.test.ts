import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { foldConformance } from '../processors/conformance/fold-conformance.ts'
import type { Histories } from '../processors/conformance/histories.ts'
import type { AnyFold } from '../processors/processor.ts'

/** The folds of the topology and the broadcast states of its transforms, of modules that are loaded when it is called. */
async function foldsNow(): Promise<readonly AnyFold[]> {
  const [{ DEFAULTS, topology }, { processorsOf }, { storedFold }] = await Promise.all([
    import('./topology.ts'),
    import('./describe.ts'),
    import('../infra/runtime/execute/stored-fold.ts'),
  ])
  const pure = processorsOf(await topology(DEFAULTS)).filter(({ shape }) => shape !== 'effect')
  return pure.flatMap((processor) => storedFold(processor) ?? [])
}

/** Events that belong together, where a fold's folder has some; otherwise they are generated from its inputs. */
async function historiesOf({ name }: AnyFold): Promise<Histories | undefined> {
  const file = fileURLToPath(new URL(`../processors/${name}/conformance-histories.ts`, import.meta.url))
  if (!existsSync(file)) return undefined
  return ((await import(/* @vite-ignore */ file)) as { readonly histories: Histories }).histories
}

for (const fold of await foldsNow()) {
  const load = async () => {
    const found = (await foldsNow()).find(({ name }) => name === fold.name)
    if (found === undefined) throw new Error(`the topology has no fold ${fold.name} when its modules are loaded again`)
    return found
  }
  foldConformance(fold, { load, histories: await historiesOf(fold) })
}

test('the folds are those of the topology', async () => {
  expect((await foldsNow()).map(({ name }) => name)).toContain('form-groups')
})
