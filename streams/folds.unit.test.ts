import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { foldConformance } from '../processors/conformance/fold-conformance.ts'
import type { Histories } from '../processors/conformance/histories.ts'
import type { Fold } from '../processors/processor.ts'

/** The folds of the topology, of modules that are loaded when it is called. */
async function foldsNow(): Promise<readonly Fold[]> {
  const [{ DEFAULTS, topology }, { processorsOf }] = await Promise.all([
    import('./topology.ts'),
    import('./describe.ts'),
  ])
  return processorsOf(await topology(DEFAULTS)).filter((processor) => processor.shape === 'fold')
}

/** Events that belong together, where a fold's folder has some; otherwise they are generated from its inputs. */
async function historiesOf({ name }: Fold): Promise<Histories | undefined> {
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
