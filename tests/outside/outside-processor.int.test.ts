import { expect, test } from 'vitest'
import { generate } from '../../cli/generate.ts'
import { verifyFolder } from '../../cli/verify.ts'
import { openDataFolder } from '../../pipeline/data-folder.ts'
import { prepareLog } from '../../pipeline/wiring.ts'
import { foldConformance } from '../../processors/conformance/fold-conformance.ts'
import { groupFormed } from '../../schemas/events/rollout.ts'
import { openSql } from '../../sinks/duckdb/sql-client.ts'
import { type Domain, stage } from '../../streams/domain.ts'
import { DEFAULTS, DOMAINS, topology } from '../../streams/topology.ts'
import { runUntilIdle } from '../../testing/run-until-idle.ts'
import { temporaryFolder } from '../../testing/temporary-folder.ts'
import { countOutcomes, outcomesCounted } from './count-outcomes.ts'

foldConformance(countOutcomes(), { load: async () => (await import('./count-outcomes.ts')).countOutcomes() })

/** Shares the event that it reads with the towers. */
const lab: Domain = {
  name: 'lab',
  about: 'outcomes, counted',
  events: [groupFormed, outcomesCounted],
  sources: [],
  stages: async () => [stage(countOutcomes(), countOutcomes)],
  views: () => [],
}

test('a processor from outside is one new file and one domain more: it runs, has a table, and verifies', async () => {
  const folder = await openDataFolder({ data: await temporaryFolder() }, { create: true })
  const wiring = await topology({ ...DEFAULTS, policy: 'random-legal' }, [...DOMAINS, lab])
  const scenes = {
    dataset: 'top_block',
    task: 'x_only',
    split: 'train',
    variant: 'plain',
    purpose: 'train',
    round: 0,
  } as const
  const signal = new AbortController().signal
  await prepareLog(folder, wiring)
  await generate(folder, { ...scenes, scenes: 5, seed: '1', group_size: 4 }, true, signal)
  await runUntilIdle(folder, wiring)
  expect(await verifyFolder(folder, wiring, { json: true })).toBe(true)
  await folder.close()

  const session = await openSql({ file: folder.duckdb_file })
  const { batches } = await session.query(
    'select count(*), sum(list_sum(map_values(outcomes))) from lab.outcomes_counted',
  )
  for await (const rows of batches) expect(rows.map((row) => row.map(Number))).toEqual([[5, 20]])
  session.close()
})
